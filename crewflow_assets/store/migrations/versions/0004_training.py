"""Trainings: what each was begun for, and who or what promoted its version; audit rows of the platform itself"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.alter_column("company_id", existing_type=sa.String(length=100), nullable=True)

    op.create_table(
        "model_switches",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("approval_required", sa.Boolean(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=True),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_model_switches")),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("from_label", sa.Text(), nullable=True),
        sa.Column("to_number", sa.Integer(), nullable=True),
        sa.Column("to_label", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.create_index("ix_promotions_model", ["model", "id"], unique=False)
        batch_op.create_index(
            "uq_promotions_pending",
            ["model"],
            unique=True,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    op.create_table(
        "training_claims",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=100), nullable=False),
        sa.Column("watermark", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("attempts_allowed", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("data_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("model", "reason", "watermark", name=op.f("pk_training_claims")),
    )
    with op.batch_alter_table("training_claims", schema=None) as batch_op:
        batch_op.create_index("ix_training_claims_state", ["state"], unique=False)
        batch_op.create_index("ix_training_claims_run_id", ["run_id"], unique=False)


def downgrade() -> None:
    op.drop_table("training_claims")
    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_promotions_pending",
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.drop_index("ix_promotions_model")

    op.drop_table("promotions")
    op.drop_table("model_switches")
    op.execute("DELETE FROM audit_log WHERE company_id IS NULL")  # the former schema has no place for them
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.alter_column("company_id", existing_type=sa.String(length=100), nullable=False)
