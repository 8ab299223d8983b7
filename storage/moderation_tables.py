"""Tables of what admins and rules refuse: requests that were not accepted, and accounts that stay blocked."""

from sqlalchemy import Column, ForeignKey, String, Table

from storage.columns import Number, UtcDateTime, metadata

# Without its words: nobody but the person may read them.
refusal = Table(
    "refusal",
    metadata,
    Column("id", Number, primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("platform", String(32), nullable=False),
    Column("command", String(64), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
)

# Chat accounts whose person was blocked and then forgotten: a block outlives that.
blocked_account = Table(
    "blocked_account",
    metadata,
    Column("account_hash", String(64), primary_key=True),
)
