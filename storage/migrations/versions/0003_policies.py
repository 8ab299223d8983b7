"""What the admins of a space chose: what becomes of sexual pictures, and whose pictures may be edited."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("space", sa.Column("policy", sa.String(length=16), nullable=True))
    op.add_column("space", sa.Column("edit_others", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("space", "edit_others")
    op.drop_column("space", "policy")
