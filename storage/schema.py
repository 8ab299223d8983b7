"""The tables.

Conditions of partial indexes are defined here once, with literals: SQLite matches an index's condition only against
literals, never against bound parameters.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal_column,
    true,
)

import storage.learning_tables
import storage.link_tables
import storage.moderation_tables
import storage.picture_tables  # noqa: F401 - they register their tables in the metadata
from bot.jobs import JobState
from storage.columns import DeviceSeconds as DeviceSeconds
from storage.columns import Number, not_negative, one_of
from storage.columns import UtcDateTime as UtcDateTime
from storage.columns import metadata as metadata
from storage.columns import utcnow as utcnow

REVISION = "0010"
"""The newest migration: a database with this revision needs no alembic at startup."""


person = Table(
    "person",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("is_local", Boolean, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("daily_s", Float),
    Column("created_at", UtcDateTime, nullable=False),
    Column("forgotten", Boolean, nullable=False, server_default=false()),
    # The id of the person that this one's accounts were linked to: this one is empty then, and counts as forgotten.
    Column("merged_into", String(32)),
    Column("blocked_at", UtcDateTime),  # null: requests of theirs are accepted
)

account = Table(
    "account",
    metadata,
    Column("platform", String(32), primary_key=True),
    Column("account_id", String(255), primary_key=True),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("name", Text),
)

space = Table(
    "space",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("platform", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("policy", String(16)),  # null: the config applies; also for the next column
    Column("edit_others", Boolean),
)

api_key = Table(
    "api_key",
    metadata,
    Column("prefix", String(64), primary_key=True),
    Column("secret_hash", String(64), nullable=False),
    Column("person", ForeignKey("person.id"), nullable=False, index=True),
    Column("is_admin", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("name", Text),  # what it is for, as its creator says
)

inbox = Table(
    "inbox",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(128), nullable=False),
    Column("jobs", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)

job = Table(
    "job",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("id", String(16), nullable=False, unique=True),
    Column("owner", ForeignKey("person.id"), nullable=False),
    Column("space", ForeignKey("space.id"), nullable=False),
    Column("origin", JSON, nullable=False),
    Column("command", String(64), nullable=False),
    Column("options", JSON, nullable=False),
    Column("images", JSON, nullable=False),
    Column("task", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("interruptions", Integer, nullable=False),
    Column("cost", DeviceSeconds, nullable=False),
    Column("estimate_s", Float, nullable=False),
    Column("parent", String(16)),
    Column("batch", String(64)),
    Column("version", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("wants_delivery", Boolean, nullable=False),
    Column("alone", Boolean, nullable=False),
    Column("place", Number, nullable=False),
    Column("not_before", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("queued_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("erased", Boolean, nullable=False, server_default=false()),
    # A counter of the owner's changes, which every write to the job advances; see `storage.mapping.next_version`.
    Column("changed", Number, nullable=False, server_default="0"),
    one_of("state", *JobState),
    *not_negative("attempt", "crashes", "failures", "interruptions", "cost", "estimate_s"),
)

IS_QUEUED: ColumnElement[bool] = job.c.state == literal_column("'queued'")
IS_RUNNING: ColumnElement[bool] = job.c.state == literal_column("'running'")
IS_ENDED: ColumnElement[bool] = job.c.state.not_in([literal_column("'queued'"), literal_column("'running'")])
IS_ALONE: ColumnElement[bool] = job.c.alone.is_(true())
IS_BACKED_OFF: ColumnElement[bool] = job.c.not_before.is_not(None)


def _partial(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool]) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


Index("ix_job_owner_changed", job.c.owner, job.c.changed)
# A person's list in its order, with what it is filtered by: rows that do not match are never read.
Index(
    "ix_job_owner_listed",
    *(job.c[name] for name in ("owner", "erased", "seq", "state", "command", "model", "created_at")),
)
# Only ended jobs: SQLite would prefer an index of all states to the index of one person's lane.
_partial("ix_job_ended", job.c.state, where=IS_ENDED)
_partial("ix_job_line", job.c.space, job.c.owner, job.c.model, job.c.place, where=IS_QUEUED)
_partial("ix_job_alone", job.c.place, where=IS_QUEUED & IS_ALONE)
_partial("ix_job_back_off", job.c.not_before, where=IS_QUEUED & IS_BACKED_OFF)
_partial("ix_job_lease", job.c.lease_until, where=IS_RUNNING)
_partial("ix_job_batch", job.c.batch, where=job.c.batch.is_not(None))

space_share = Table(
    "space_share",
    metadata,
    Column("space", ForeignKey("space.id"), primary_key=True),
    Column("vtime", Float, nullable=False),
    Column("backlog", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    *not_negative("backlog", "running"),
)
SPACE_IS_ACTIVE: ColumnElement[bool] = space_share.c.backlog + space_share.c.running > literal_column("0")
_partial("ix_space_share_active", space_share.c.vtime, space_share.c.space, where=SPACE_IS_ACTIVE)

person_share = Table(
    "person_share",
    metadata,
    Column("space", ForeignKey("space.id"), primary_key=True),
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("vtime", Float, nullable=False),
    Column("backlog", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    *not_negative("backlog", "running"),
)
PERSON_IS_ACTIVE: ColumnElement[bool] = person_share.c.backlog + person_share.c.running > literal_column("0")
_partial(
    "ix_person_share_active",
    person_share.c.space,
    person_share.c.vtime,
    person_share.c.person,
    where=PERSON_IS_ACTIVE,
)

person_load = Table(
    "person_load",
    metadata,
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("running", Integer, nullable=False),
    Column("outstanding", Integer, nullable=False),
    *not_negative("running", "outstanding"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", Number, primary_key=True),
    Column("job", ForeignKey("job.id"), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("person", ForeignKey("person.id"), nullable=False),
    Column("day", String(10), nullable=False),
    Column("amount", DeviceSeconds, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("job", "kind"),
    one_of("kind", "reserve", "capture", "refund"),
    *not_negative("amount"),
)
_partial(
    "uq_ledger_settled",
    ledger.c.job,
    where=ledger.c.kind.in_([literal_column("'capture'"), literal_column("'refund'")]),
).unique = True

quota_day = Table(
    "quota_day",
    metadata,
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("used", DeviceSeconds, nullable=False),
    Column("reserved", DeviceSeconds, nullable=False),
    *not_negative("used", "reserved"),
)

media = Table(
    "media",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("media_type", String(32), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", Integer, nullable=False),  # bytes, with its thumbnails
    *not_negative("width", "height", "size"),
)

media_owner = Table(
    "media_owner",
    metadata,
    Column("media", ForeignKey("media.id"), primary_key=True),
    Column("owner", ForeignKey("person.id"), primary_key=True),
    Column("alt", Text, nullable=False),
    # Parameters from an uploaded file belong to its uploader, not to all owners of equal bytes.
    Column("parameters", JSON(none_as_null=True)),
    Column("kept_since", UtcDateTime, nullable=False, index=True),
    # The platform through which the owner first got it, or the first image that it was made from; null: unknown.
    Column("source", String(32)),
)

job_media = Table(
    "job_media",
    metadata,
    Column("job", ForeignKey("job.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("media", ForeignKey("media.id"), nullable=False, index=True),
    Column("owner", ForeignKey("person.id"), nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Number, primary_key=True),
    Column("job", ForeignKey("job.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    # Of a `webhook`, its name; of a `retract`, which messages; else empty.
    Column("target", String(255), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("message_ref", Text),
    # The messages that a `retract` deletes: the job is erased by then, and so are its rows in `message`.
    Column("refs", JSON(none_as_null=True)),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("job", "kind", "target"),
    one_of("kind", "placeholder", "result", "retract", "webhook"),
    one_of("state", "pending", "sent", "undeliverable"),
    *not_negative("tries"),
)
IS_PENDING: ColumnElement[bool] = outbox.c.state == literal_column("'pending'")
_partial("ix_outbox_due", outbox.c.due_at, outbox.c.id, where=IS_PENDING)

inbox_event = Table(
    "inbox_event",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("platform", String(32), nullable=False),
    Column("key", String(255), nullable=False),
    Column("event", JSON(none_as_null=True)),  # null: the event is handled
    Column("created_at", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("platform", "key"),
)
IS_WAITING: ColumnElement[bool] = inbox_event.c.event.is_not(None)
_partial("ix_inbox_event_waiting", inbox_event.c.platform, inbox_event.c.seq, where=IS_WAITING)

message = Table(
    "message",
    metadata,
    Column("platform", String(32), primary_key=True),
    Column("ref", String(255), primary_key=True),
    Column("job", ForeignKey("job.id"), nullable=False, index=True),
    Column("picture", Integer),  # which one it shows, from 1; null: it shows the whole result
)

person_setting = Table(
    "person_setting",
    metadata,
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)

measurement = Table(
    "measurement",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("dtype", String(16), primary_key=True),
    Column("shape", String(32), primary_key=True),
    Column("rows", Integer, primary_key=True),
    Column("what", String(16), primary_key=True),
    Column("backend", String(16), primary_key=True, server_default="torch"),
    Column("seconds", Float, nullable=False),
    Column("samples", Integer, nullable=False),
    *not_negative("rows", "seconds", "samples"),
)

model_form = Table(
    "model_form",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("form", JSON, nullable=False),
)
