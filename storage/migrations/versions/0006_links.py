"""Linked accounts: one-time codes, what was linked when, usage that is brought along, the name of each account."""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = storage.schema.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.add_column("account", sa.Column("name", sa.Text(), nullable=True))
    op.execute("UPDATE account SET name = (SELECT person.name FROM person WHERE person.id = account.person)")
    op.add_column("person", sa.Column("merged_into", sa.String(length=32), nullable=True))
    _create_codes()
    _create_events()
    op.create_table(
        "carried_usage",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("device_s", sa.BigInteger(), nullable=False),
        sa.Column("upload_bytes", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.CheckConstraint("device_s >= 0", name=op.f("ck_carried_usage_device_s")),
        sa.CheckConstraint("upload_bytes >= 0", name=op.f("ck_carried_usage_upload_bytes")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_carried_usage_person_person")),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_carried_usage")),
    )


def _create_codes() -> None:
    op.create_table(
        "link_code",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_link_code_person_person")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_link_code")),
    )
    op.create_index(op.f("ix_link_code_person"), "link_code", ["person"], unique=False)
    op.create_index(op.f("ix_link_code_expires_at"), "link_code", ["expires_at"], unique=False)


def _create_events() -> None:
    op.create_table(
        "link_event",
        sa.Column("id", storage.schema.Number, nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.CheckConstraint("kind IN ('link', 'unlink')", name=op.f("ck_link_event_kind")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_link_event_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_event")),
    )
    op.create_index(op.f("ix_link_event_person"), "link_event", ["person"], unique=False)


def downgrade() -> None:
    for table in ("carried_usage", "link_event", "link_code"):
        op.drop_table(table)
    op.drop_column("person", "merged_into")
    op.drop_column("account", "name")
