"""The first tables."""

import sqlalchemy as sa
from alembic import context, op

import storage.schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


TABLES = (
    "inbox",
    "measurement",
    "media",
    "model_form",
    "person",
    "space",
    "account",
    "api_key",
    "job",
    "media_owner",
    "person_load",
    "person_share",
    "quota_day",
    "space_share",
    "job_media",
    "ledger",
    "outbox",
)


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_hash", sa.String(length=128), nullable=False),
        sa.Column("jobs", sa.JSON(), nullable=False),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_inbox")),
    )
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_inbox_created_at"), ["created_at"], unique=False)

    op.create_table(
        "measurement",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("dtype", sa.String(length=16), nullable=False),
        sa.Column("shape", sa.String(length=32), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.CheckConstraint("rows >= 0", name=op.f("ck_measurement_rows")),
        sa.CheckConstraint("samples >= 0", name=op.f("ck_measurement_samples")),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_measurement_seconds")),
        sa.PrimaryKeyConstraint("device", "model", "dtype", "shape", "rows", "what", name=op.f("pk_measurement")),
    )
    op.create_table(
        "media",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.CheckConstraint("height >= 0", name=op.f("ck_media_height")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_media_size")),
        sa.CheckConstraint("width >= 0", name=op.f("ck_media_width")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
    )
    op.create_table(
        "model_form",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("form", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_model_form")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_local", sa.Boolean(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("daily_s", sa.Float(), nullable=True),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
    )
    op.create_table(
        "space",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_space")),
    )
    op.create_table(
        "account",
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=255), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_account_person_person")),
        sa.PrimaryKeyConstraint("platform", "account_id", name=op.f("pk_account")),
    )
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_account_person"), ["person"], unique=False)

    op.create_table(
        "api_key",
        sa.Column("prefix", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", storage.schema.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", storage.schema.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_api_key_person_person")),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_key")),
    )
    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_key_person"), ["person"], unique=False)

    op.create_table(
        "job",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("space", sa.String(length=255), nullable=False),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("command", sa.String(length=64), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("interruptions", sa.Integer(), nullable=False),
        sa.Column("cost", storage.schema.DeviceSeconds(), nullable=False),
        sa.Column("estimate_s", sa.Float(), nullable=False),
        sa.Column("parent", sa.String(length=16), nullable=True),
        sa.Column("batch", sa.String(length=64), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("wants_delivery", sa.Boolean(), nullable=False),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("place", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("not_before", storage.schema.UtcDateTime(timezone=True), nullable=True),
        sa.Column("lease_until", storage.schema.UtcDateTime(timezone=True), nullable=True),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.Column("queued_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.Column("started_at", storage.schema.UtcDateTime(timezone=True), nullable=True),
        sa.Column("finished_at", storage.schema.UtcDateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'rendered', 'delivered', 'failed', 'cancelled', 'dead')",
            name=op.f("ck_job_state"),
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_job_attempt")),
        sa.CheckConstraint("cost >= 0", name=op.f("ck_job_cost")),
        sa.CheckConstraint("crashes >= 0", name=op.f("ck_job_crashes")),
        sa.CheckConstraint("estimate_s >= 0", name=op.f("ck_job_estimate_s")),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_job_failures")),
        sa.CheckConstraint("interruptions >= 0", name=op.f("ck_job_interruptions")),
        sa.ForeignKeyConstraint(["owner"], ["person.id"], name=op.f("fk_job_owner_person")),
        sa.ForeignKeyConstraint(["space"], ["space.id"], name=op.f("fk_job_space_space")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job")),
        sa.UniqueConstraint("id", name=op.f("uq_job_id")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_alone",
            ["place"],
            unique=False,
            sqlite_where=sa.text("state = 'queued' AND alone IS 1"),
            postgresql_where=sa.text("state = 'queued' AND alone IS true"),
        )
        batch_op.create_index(
            "ix_job_back_off",
            ["not_before"],
            unique=False,
            sqlite_where=sa.text("state = 'queued' AND not_before IS NOT NULL"),
            postgresql_where=sa.text("state = 'queued' AND not_before IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_job_ended",
            ["state"],
            unique=False,
            sqlite_where=sa.text("(state NOT IN ('queued', 'running'))"),
            postgresql_where=sa.text("(state NOT IN ('queued', 'running'))"),
        )
        batch_op.create_index(
            "ix_job_lease",
            ["lease_until"],
            unique=False,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )
        batch_op.create_index(
            "ix_job_line",
            ["space", "owner", "model", "place"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )
        batch_op.create_index("ix_job_owner_seq", ["owner", "seq"], unique=False)

    op.create_table(
        "media_owner",
        sa.Column("media", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("alt", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("kept_since", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["media"], ["media.id"], name=op.f("fk_media_owner_media_media")),
        sa.ForeignKeyConstraint(["owner"], ["person.id"], name=op.f("fk_media_owner_owner_person")),
        sa.PrimaryKeyConstraint("media", "owner", name=op.f("pk_media_owner")),
    )
    with op.batch_alter_table("media_owner", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_media_owner_kept_since"), ["kept_since"], unique=False)

    op.create_table(
        "person_load",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("outstanding", sa.Integer(), nullable=False),
        sa.CheckConstraint("outstanding >= 0", name=op.f("ck_person_load_outstanding")),
        sa.CheckConstraint("running >= 0", name=op.f("ck_person_load_running")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_person_load_person_person")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_person_load")),
    )
    op.create_table(
        "person_share",
        sa.Column("space", sa.String(length=255), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("vtime", sa.Float(), nullable=False),
        sa.Column("backlog", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.CheckConstraint("backlog >= 0", name=op.f("ck_person_share_backlog")),
        sa.CheckConstraint("running >= 0", name=op.f("ck_person_share_running")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_person_share_person_person")),
        sa.ForeignKeyConstraint(["space"], ["space.id"], name=op.f("fk_person_share_space_space")),
        sa.PrimaryKeyConstraint("space", "person", name=op.f("pk_person_share")),
    )
    with op.batch_alter_table("person_share", schema=None) as batch_op:
        batch_op.create_index(
            "ix_person_share_active",
            ["space", "vtime", "person"],
            unique=False,
            sqlite_where=sa.text("backlog + running > 0"),
            postgresql_where=sa.text("backlog + running > 0"),
        )

    op.create_table(
        "quota_day",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("used", storage.schema.DeviceSeconds(), nullable=False),
        sa.Column("reserved", storage.schema.DeviceSeconds(), nullable=False),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_quota_day_reserved")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_quota_day_used")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_quota_day_person_person")),
        sa.PrimaryKeyConstraint("person", "day", name=op.f("pk_quota_day")),
    )
    op.create_table(
        "space_share",
        sa.Column("space", sa.String(length=255), nullable=False),
        sa.Column("vtime", sa.Float(), nullable=False),
        sa.Column("backlog", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.CheckConstraint("backlog >= 0", name=op.f("ck_space_share_backlog")),
        sa.CheckConstraint("running >= 0", name=op.f("ck_space_share_running")),
        sa.ForeignKeyConstraint(["space"], ["space.id"], name=op.f("fk_space_share_space_space")),
        sa.PrimaryKeyConstraint("space", name=op.f("pk_space_share")),
    )
    with op.batch_alter_table("space_share", schema=None) as batch_op:
        batch_op.create_index(
            "ix_space_share_active",
            ["vtime", "space"],
            unique=False,
            sqlite_where=sa.text("backlog + running > 0"),
            postgresql_where=sa.text("backlog + running > 0"),
        )

    op.create_table(
        "job_media",
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("media", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_job_media_job_job")),
        sa.ForeignKeyConstraint(["media"], ["media.id"], name=op.f("fk_job_media_media_media")),
        sa.ForeignKeyConstraint(["owner"], ["person.id"], name=op.f("fk_job_media_owner_person")),
        sa.PrimaryKeyConstraint("job", "role", "position", name=op.f("pk_job_media")),
    )
    with op.batch_alter_table("job_media", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_media_media"), ["media"], unique=False)

    op.create_table(
        "ledger",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("amount", storage.schema.DeviceSeconds(), nullable=False),
        sa.Column("at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('reserve', 'capture', 'refund')", name=op.f("ck_ledger_kind")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_ledger_amount")),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_ledger_job_job")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_ledger_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
        sa.UniqueConstraint("job", "kind", name=op.f("uq_ledger_job_kind")),
    )
    with op.batch_alter_table("ledger", schema=None) as batch_op:
        batch_op.create_index(
            "uq_ledger_settled",
            ["job"],
            unique=True,
            sqlite_where=sa.text("kind IN ('capture', 'refund')"),
            postgresql_where=sa.text("kind IN ('capture', 'refund')"),
        )

    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.Column("message_ref", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('placeholder', 'result')", name=op.f("ck_outbox_kind")),
        sa.CheckConstraint("state IN ('pending', 'sent', 'undeliverable')", name=op.f("ck_outbox_state")),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_outbox_tries")),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_outbox_job_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("job", "kind", name=op.f("uq_outbox_job_kind")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_outbox_due",
            ["due_at", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
    context.config.attributes["dialect"].create_search(op.get_bind())


def downgrade() -> None:
    context.config.attributes["dialect"].drop_search(op.get_bind())
    for table in reversed(TABLES):
        op.drop_table(table)
