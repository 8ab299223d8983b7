"""Tables of what people keep, show and report beside their jobs: batches, favourites, collections, reports.

Pictures of a job are numbered from 1 in the stored order; a number stays valid when other pictures are deleted.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from storage.columns import Number, UtcDateTime, metadata


def _picture(*, is_key: bool = True) -> Column[int]:
    return Column("picture", Integer, primary_key=is_key, autoincrement=False, nullable=not is_key)


batch = Table(
    "batch",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", ForeignKey("person.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("is_due", Boolean, nullable=False, server_default=false()),
)
"""`is_due`: its sheets are to be composed once all of its jobs have ended."""

batch_sheet = Table(
    "batch_sheet",
    metadata,
    Column("batch", ForeignKey("batch.id"), primary_key=True),
    Column("z", Integer, primary_key=True, autoincrement=False),
    Column("media", ForeignKey("media.id"), nullable=False, index=True),
)
"""`z`: the place of its value on a grid's third axis."""

session = Table(
    "session",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("key", ForeignKey("api_key.prefix"), nullable=False, index=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

favourite = Table(
    "favourite",
    metadata,
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("job", ForeignKey("job.id"), primary_key=True, index=True),
    _picture(),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("picture >= 1", name="picture"),
)

collection = Table(
    "collection",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("person", "name"),
)

collection_item = Table(
    "collection_item",
    metadata,
    Column("collection", ForeignKey("collection.id"), primary_key=True),
    Column("job", ForeignKey("job.id"), primary_key=True, index=True),
    _picture(),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("picture >= 1", name="picture"),
)

report = Table(
    "report",
    metadata,
    Column("id", Number, primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("job", ForeignKey("job.id"), nullable=False, index=True),
    _picture(is_key=False),  # null: all of it
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime, index=True),  # null: it is open
    Column("outcome", String(16)),
)

metric_sample = Table(
    "metric_sample",
    metadata,
    Column("minute", UtcDateTime, primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("value", Float, nullable=False),
)
