"""Tables of what models learn from people, and of what is found by meaning: corrections, adapters, embeddings."""

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Integer, LargeBinary, String, Table, Text

from storage.columns import UtcDateTime, metadata, not_negative, one_of

# What a model sees in an image, as `count` vectors of `width` numbers, and their mean, in half precision.
embedding = Table(
    "embedding",
    metadata,
    Column("media", ForeignKey("media.id"), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("revision", String(64), nullable=False),
    Column("count", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("mean", LargeBinary, nullable=False),
    Column("vectors", LargeBinary, nullable=False),
    *not_negative("count", "width"),
)

# What a person says a caption or an answer should have been.
correction = Table(
    "correction",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("job", ForeignKey("job.id"), nullable=False, unique=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("media", ForeignKey("media.id"), nullable=False, index=True),
    Column("question", Text, nullable=False),  # empty: it is a caption
    Column("answer", Text, nullable=False),  # the model's
    Column("text", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# That a correction may be used for training: given once and withdrawn once. A withdrawn one stays with its correction,
# and while an adapter has learned from the example.
consent = Table(
    "consent",
    metadata,
    Column("correction", String(16), primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("given_at", UtcDateTime, nullable=False),
    Column("withdrawn_at", UtcDateTime),
)

# Corrections whose consent was withdrawn, until trainings and adapters no longer have them; it leads to no person.
withdrawn_example = Table(
    "withdrawn_example",
    metadata,
    Column("correction", String(16), primary_key=True),
    Column("withdrawn_at", UtcDateTime, nullable=False),
)

adapter = Table(
    "adapter",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("model", String(128), nullable=False),
    Column("revision", String(64), nullable=False),  # of the model that it was trained on
    Column("sha256", String(64), nullable=False),  # of its weights
    Column("state", String(16), nullable=False),
    Column("report", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    one_of("kind", "vision", "image"),
    # accepted: it may be used; rejected: it failed its test; retired: an example that it learned from was withdrawn.
    one_of("state", "accepted", "rejected", "retired"),
)

# What an adapter learned from. `correction`: the row that it came from; null: the owner's own example.
adapter_example = Table(
    "adapter_example",
    metadata,
    Column("adapter", ForeignKey("adapter.name"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),  # of image, question and answer
    Column("correction", String(16), index=True),
    Column("is_held_out", Boolean, nullable=False),  # it was tested with it, and not trained
)
