"""Grids: a batch has several sheets, and knows whether they are due."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("batch", schema=None, copy_from=_batch(sa.Column("sheet", sa.String(64)))) as batch_op:
        batch_op.drop_index(batch_op.f("ix_batch_sheet"))
        batch_op.drop_constraint(batch_op.f("fk_batch_sheet_media"), type_="foreignkey")
        batch_op.drop_column("sheet")
        batch_op.add_column(sa.Column("is_due", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "batch_sheet",
        sa.Column("batch", sa.String(length=64), nullable=False),
        sa.Column("z", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("media", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batch.id"], name=op.f("fk_batch_sheet_batch_batch")),
        sa.ForeignKeyConstraint(["media"], ["media.id"], name=op.f("fk_batch_sheet_media_media")),
        sa.PrimaryKeyConstraint("batch", "z", name=op.f("pk_batch_sheet")),
    )
    op.create_index(op.f("ix_batch_sheet_media"), "batch_sheet", ["media"], unique=False)


def downgrade() -> None:
    op.drop_table("batch_sheet")
    is_due: sa.Column[Any] = sa.Column("is_due", sa.Boolean(), nullable=False, server_default=sa.false())
    with op.batch_alter_table("batch", schema=None, copy_from=_batch(is_due, has_sheet=False)) as batch_op:
        batch_op.drop_column("is_due")
        batch_op.add_column(sa.Column("sheet", sa.String(length=64), nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_batch_sheet_media"), "media", ["sheet"], ["id"])
        batch_op.create_index(batch_op.f("ix_batch_sheet"), ["sheet"], unique=False)


def _batch(more: "sa.Column[Any]", *, has_sheet: bool = True) -> sa.Table:
    """The table before the change, with the names of its constraints."""
    table = sa.Table(
        "batch",
        sa.MetaData(),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        more,
        sa.ForeignKeyConstraint(["owner"], ["person.id"], name="fk_batch_owner_person"),
        *([sa.ForeignKeyConstraint(["sheet"], ["media.id"], name="fk_batch_sheet_media")] if has_sheet else []),
        sa.PrimaryKeyConstraint("id", name="pk_batch"),
        sa.Index("ix_batch_owner", "owner"),
    )
    if has_sheet:
        sa.Index("ix_batch_sheet", table.c.sheet)
    return table
