"""What models learn from people, and what is found by meaning: corrections, consent, adapters, embeddings."""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = storage.schema.UtcDateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "embedding",
        sa.Column("media", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("mean", sa.LargeBinary(), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("count >= 0", name=op.f("ck_embedding_count")),
        sa.CheckConstraint("width >= 0", name=op.f("ck_embedding_width")),
        sa.ForeignKeyConstraint(["media"], ["media.id"], name=op.f("fk_embedding_media_media")),
        sa.PrimaryKeyConstraint("media", "model", name=op.f("pk_embedding")),
    )
    op.create_table(
        "correction",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("job", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("media", sa.String(length=64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["job.id"], name=op.f("fk_correction_job_job")),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_correction_person_person")),
        sa.ForeignKeyConstraint(["media"], ["media.id"], name=op.f("fk_correction_media_media")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_correction")),
        sa.UniqueConstraint("job", name=op.f("uq_correction_job")),
    )
    op.create_index(op.f("ix_correction_person"), "correction", ["person"], unique=False)
    op.create_index(op.f("ix_correction_media"), "correction", ["media"], unique=False)
    op.create_table(
        "consent",
        sa.Column("correction", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("given_at", _TIME, nullable=False),
        sa.Column("withdrawn_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["person"], ["person.id"], name=op.f("fk_consent_person_person")),
        sa.PrimaryKeyConstraint("correction", name=op.f("pk_consent")),
    )
    op.create_index(op.f("ix_consent_person"), "consent", ["person"], unique=False)
    op.create_table(
        "withdrawn_example",
        sa.Column("correction", sa.String(length=16), nullable=False),
        sa.Column("withdrawn_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("correction", name=op.f("pk_withdrawn_example")),
    )
    op.create_table(
        "adapter",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("kind IN ('vision', 'image')", name=op.f("ck_adapter_kind")),
        sa.CheckConstraint("state IN ('accepted', 'rejected', 'retired')", name=op.f("ck_adapter_state")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_adapter")),
    )
    op.create_table(
        "adapter_example",
        sa.Column("adapter", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("correction", sa.String(length=16), nullable=True),
        sa.Column("is_held_out", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["adapter"], ["adapter.name"], name=op.f("fk_adapter_example_adapter_adapter")),
        sa.PrimaryKeyConstraint("adapter", "position", name=op.f("pk_adapter_example")),
    )
    op.create_index(op.f("ix_adapter_example_correction"), "adapter_example", ["correction"], unique=False)


def downgrade() -> None:
    for table in ("adapter_example", "adapter", "withdrawn_example", "consent", "correction", "embedding"):
        op.drop_table(table)
