"""Blocked persons, requests that were refused before they were accepted, and reports that count after unlinking."""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = storage.schema.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.add_column("person", sa.Column("blocked_at", _TIME, nullable=True))
    op.add_column("carried_usage", sa.Column("reports", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "blocked_account",
        sa.Column("account_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("account_hash", name=op.f("pk_blocked_account")),
    )
    op.create_table(
        "refusal",
        sa.Column("id", storage.schema.Number, nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("platform", sa.String(length=32), nullable=False),
        sa.Column("command", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_refusal_person_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal")),
    )
    op.create_index(op.f("ix_refusal_person"), "refusal", ["person"], unique=False)
    op.create_index(op.f("ix_refusal_at"), "refusal", ["at"], unique=False)


def downgrade() -> None:
    op.drop_table("refusal")
    op.drop_table("blocked_account")
    op.drop_column("carried_usage", "reports")
    op.drop_column("person", "blocked_at")
