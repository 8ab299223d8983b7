"""What chats need: events kept until handled, which message is about which job, own defaults, and forgetting."""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOTE_OLD_MESSAGES = """
INSERT INTO message (platform, ref, job)
SELECT space.platform, outbox.message_ref, min(outbox.job)
FROM outbox JOIN job ON job.id = outbox.job JOIN space ON space.id = job.space
WHERE outbox.message_ref IS NOT NULL
GROUP BY space.platform, outbox.message_ref
"""


def upgrade() -> None:
    op.add_column("person", sa.Column("forgotten", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("job", sa.Column("erased", sa.Boolean(), nullable=False, server_default=sa.false()))

    op.create_table(
        "inbox_event",
        sa.Column("seq", sa.Integer().with_variant(sa.BigInteger(), "postgresql"), nullable=False),
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("event", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", storage.schema.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_inbox_event")),
        sa.UniqueConstraint("platform", "key", name=op.f("uq_inbox_event_platform_key")),
    )
    with op.batch_alter_table("inbox_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_inbox_event_created_at"), ["created_at"], unique=False)
        batch_op.create_index(
            "ix_inbox_event_waiting",
            ["platform", "seq"],
            unique=False,
            sqlite_where=sa.text("event IS NOT NULL"),
            postgresql_where=sa.text("event IS NOT NULL"),
        )

    op.create_table(
        "message",
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("ref", sa.String(length=255), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_message_job_job")),
        sa.PrimaryKeyConstraint("platform", "ref", name=op.f("pk_message")),
    )
    with op.batch_alter_table("message", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_message_job"), ["job"], unique=False)
    op.execute(_NOTE_OLD_MESSAGES)

    op.create_table(
        "person_setting",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_person_setting_person_person")),
        sa.PrimaryKeyConstraint("person", "name", name=op.f("pk_person_setting")),
    )


def downgrade() -> None:
    for table in ("person_setting", "message", "inbox_event"):
        op.drop_table(table)
    op.drop_column("job", "erased")
    op.drop_column("person", "forgotten")
