"""Tables of linked accounts: one-time codes, what was linked when, and usage that a person brings along."""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, String, Table

from storage.columns import DeviceSeconds, Number, UtcDateTime, metadata, not_negative, one_of

link_code = Table(
    "link_code",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("used_at", UtcDateTime),
)

link_event = Table(
    "link_event",
    metadata,
    Column("id", Number, primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("details", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    one_of("kind", "link", "unlink"),
)

# An account that is unlinked becomes a new person, whose usage of that day is what the old one had used.
carried_usage = Table(
    "carried_usage",
    metadata,
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("device_s", DeviceSeconds, nullable=False),
    Column("upload_bytes", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("reports", Integer, nullable=False, server_default="0"),
    *not_negative("device_s", "upload_bytes"),
)
