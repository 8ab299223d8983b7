"""What the page's people and admins need: closed reports, names of API keys."""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = storage.schema.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.add_column("api_key", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("report", sa.Column("closed_at", _TIME, nullable=True))
    op.add_column("report", sa.Column("outcome", sa.String(length=16), nullable=True))
    op.create_index(op.f("ix_report_closed_at"), "report", ["closed_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_report_closed_at", "report")
    op.drop_column("report", "outcome")
    op.drop_column("report", "closed_at")
    op.drop_column("api_key", "name")
