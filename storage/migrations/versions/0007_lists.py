"""Lists of a person's jobs, with every filter, from one index."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = ["owner", "erased", "seq", "state", "command", "model", "created_at"]


def upgrade() -> None:
    op.drop_index("ix_job_owner_listed", "job", if_exists=True)  # 0004 had none for its first hour
    op.drop_index("ix_job_owner_seq", "job")
    op.create_index("ix_job_owner_listed", "job", _COLUMNS, unique=False)


def downgrade() -> None:
    op.drop_index("ix_job_owner_listed", "job")
    op.create_index("ix_job_owner_seq", "job", ["owner", "seq"], unique=False)
    op.create_index("ix_job_owner_listed", "job", ["owner", "erased", "command", "model"], unique=False)
