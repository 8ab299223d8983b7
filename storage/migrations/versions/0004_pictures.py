"""Pictures of a job by their numbers: which one a message shows, favourites, collections, reports; batches; sessions.

Also a counter of each person's changes, where images came from, several outgoing messages of a kind, and the backend
of measurements.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("metric_sample", "report", "collection_item", "collection", "favourite", "session", "batch")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = storage.schema.UtcDateTime(timezone=True)
_KEY = ("device", "model", "dtype", "shape", "rows", "what")

_COPY_BATCHES = """
INSERT INTO batch (id, owner, kind, spec, sheet)
SELECT batch, min(owner), 'prompts', '{}', NULL FROM job WHERE batch IS NOT NULL GROUP BY batch
"""
_COPY_SOURCES = """
UPDATE media_owner SET source = (
  SELECT space.platform FROM job_media JOIN job ON job.id = job_media.job JOIN space ON space.id = job.space
  WHERE job_media.media = media_owner.media AND job_media.owner = media_owner.owner
  ORDER BY CASE WHEN space.platform IN ('web', 'cli') THEN 1 ELSE 0 END, job.seq
  LIMIT 1
)
"""
"""Of an image that was used on several platforms, a chat: what may have come from one counts as if it had."""


def upgrade() -> None:
    op.add_column("message", sa.Column("picture", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("changed", _NUMBER, nullable=False, server_default="0"))
    op.execute("UPDATE job SET changed = seq")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index("ix_job_owner_changed", ["owner", "changed"], unique=False)
        batch_op.create_index("ix_job_owner_listed", ["owner", "erased", "command", "model"], unique=False)
        batch_op.create_index(
            "ix_job_batch",
            ["batch"],
            unique=False,
            sqlite_where=sa.text("batch IS NOT NULL"),
            postgresql_where=sa.text("batch IS NOT NULL"),
        )
    op.add_column("media_owner", sa.Column("source", sa.String(length=32), nullable=True))
    op.execute(_COPY_SOURCES)
    _alter_outbox()
    _alter_measurement()
    if op.get_context().dialect.name != "sqlite":  # there, both are the same type
        op.alter_column("ledger", "id", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
        op.alter_column("outbox", "id", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
    _create_tables()
    op.execute(_COPY_BATCHES)


def _alter_outbox() -> None:
    with op.batch_alter_table("outbox", schema=None, copy_from=_outbox()) as batch_op:
        batch_op.add_column(sa.Column("target", sa.String(length=255), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("refs", sa.JSON(none_as_null=True), nullable=True))
        batch_op.drop_constraint(batch_op.f("uq_outbox_job_kind"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_outbox_job_kind_target"), ["job", "kind", "target"])
        batch_op.drop_constraint(batch_op.f("ck_outbox_kind"), type_="check")
        batch_op.create_check_constraint(
            batch_op.f("ck_outbox_kind"), "kind IN ('placeholder', 'result', 'retract', 'webhook')"
        )


def _outbox(*columns: sa.Column[Any], unique: tuple[str, ...] = ("job", "kind"), more_kinds: str = "") -> sa.Table:
    """The table as revision 0003 has it: SQLite changes constraints by copying the table."""
    name = "_".join(unique)
    table = sa.Table(
        "outbox",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("message_ref", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        *columns,
        sa.CheckConstraint(f"kind IN ('placeholder', 'result'{more_kinds})", name="ck_outbox_kind"),
        sa.CheckConstraint("state IN ('pending', 'sent', 'undeliverable')", name="ck_outbox_state"),
        sa.CheckConstraint("tries >= 0", name="ck_outbox_tries"),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name="fk_outbox_job_job"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint(*unique, name=f"uq_outbox_{name}"),
    )
    is_pending = sa.text("state = 'pending'")
    sa.Index("ix_outbox_due", table.c.due_at, table.c.id, sqlite_where=is_pending, postgresql_where=is_pending)
    return table


def _alter_measurement() -> None:
    with op.batch_alter_table("measurement", schema=None, copy_from=_measurement(_KEY)) as batch_op:
        batch_op.add_column(sa.Column("backend", sa.String(length=16), nullable=False, server_default="torch"))
        batch_op.drop_constraint(batch_op.f("pk_measurement"), type_="primary")
        batch_op.create_primary_key(batch_op.f("pk_measurement"), [*_KEY, "backend"])


def _measurement(key: tuple[str, ...], *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        "measurement",
        sa.MetaData(),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("dtype", sa.String(length=16), nullable=False),
        sa.Column("shape", sa.String(length=32), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        *columns,
        sa.CheckConstraint("rows >= 0", name="ck_measurement_rows"),
        sa.CheckConstraint("samples >= 0", name="ck_measurement_samples"),
        sa.CheckConstraint("seconds >= 0", name="ck_measurement_seconds"),
        sa.PrimaryKeyConstraint(*key, name="pk_measurement"),
    )


def _create_tables() -> None:
    op.create_table(
        "batch",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("sheet", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["owner"], ["person.id"], name=op.f("fk_batch_owner_person")),
        sa.ForeignKeyConstraint(["sheet"], ["media.id"], name=op.f("fk_batch_sheet_media")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
    )
    _create_indexes("batch", "owner", "sheet")
    op.create_table(
        "session",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["key"], ["api_key.prefix"], name=op.f("fk_session_key_api_key")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_session")),
    )
    _create_indexes("session", "key", "expires_at")
    op.create_table(
        "favourite",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("picture", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("picture >= 1", name=op.f("ck_favourite_picture")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_favourite_person_person")),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_favourite_job_job")),
        sa.PrimaryKeyConstraint("person", "job", "picture", name=op.f("pk_favourite")),
    )
    _create_indexes("favourite", "job")
    op.create_table(
        "collection",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_collection_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collection")),
        sa.UniqueConstraint("person", "name", name=op.f("uq_collection_person_name")),
    )
    op.create_table(
        "collection_item",
        sa.Column("collection", sa.String(length=16), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("picture", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("picture >= 1", name=op.f("ck_collection_item_picture")),
        sa.ForeignKeyConstraint(
            ["collection"], ["collection.id"], name=op.f("fk_collection_item_collection_collection")
        ),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_collection_item_job_job")),
        sa.PrimaryKeyConstraint("collection", "job", "picture", name=op.f("pk_collection_item")),
    )
    _create_indexes("collection_item", "job")
    op.create_table(
        "report",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("picture", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_report_person_person")),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_report_job_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )
    _create_indexes("report", "person", "job")
    op.create_table(
        "metric_sample",
        sa.Column("minute", _TIME, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "name", name=op.f("pk_metric_sample")),
    )


def _create_indexes(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.execute("DELETE FROM measurement WHERE backend <> 'torch'")
    backend = sa.Column("backend", sa.String(length=16), nullable=False, server_default="torch")
    with op.batch_alter_table(
        "measurement", schema=None, copy_from=_measurement((*_KEY, "backend"), backend)
    ) as batch_op:
        batch_op.drop_constraint(batch_op.f("pk_measurement"), type_="primary")
        batch_op.create_primary_key(batch_op.f("pk_measurement"), list(_KEY))
        batch_op.drop_column("backend")
    op.execute("DELETE FROM outbox WHERE kind IN ('retract', 'webhook')")
    added = (
        sa.Column("target", sa.String(length=255), nullable=False, server_default=""),
        sa.Column("refs", sa.JSON(none_as_null=True), nullable=True),
    )
    current = _outbox(*added, unique=("job", "kind", "target"), more_kinds=", 'retract', 'webhook'")
    with op.batch_alter_table("outbox", schema=None, copy_from=current) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_outbox_job_kind_target"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_outbox_job_kind"), ["job", "kind"])
        batch_op.drop_constraint(batch_op.f("ck_outbox_kind"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_outbox_kind"), "kind IN ('placeholder', 'result')")
        batch_op.drop_column("refs")
        batch_op.drop_column("target")
    op.drop_column("media_owner", "source")
    op.drop_index("ix_job_batch", "job")
    op.drop_index("ix_job_owner_listed", "job")
    op.drop_index("ix_job_owner_changed", "job")
    op.drop_column("job", "changed")
    op.drop_column("message", "picture")
