"""Conflicts: the two sides' values, what was decided, and where deciding by itself is allowed"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VALUE = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "conflict_switches",
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("conflict_type", sa.String(length=50), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("daily_cap", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.Column("alerted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name=op.f("fk_conflict_switches_company_id_companies")
        ),
        sa.PrimaryKeyConstraint("company_id", "conflict_type", name=op.f("pk_conflict_switches")),
    )
    op.create_table(
        "conflicts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("conflict_id", sa.String(length=100), nullable=False),
        sa.Column("conflict_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("record_type", sa.Text(), nullable=False),
        sa.Column("record_id", sa.String(length=100), nullable=True),
        sa.Column("system", sa.Text(), nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("timecard_date", sa.Date(), nullable=False),
        sa.Column("crewflow_value", VALUE, nullable=True),
        sa.Column("external_value", VALUE, nullable=True),
        sa.Column("crewflow_version", sa.Text(), nullable=True),
        sa.Column("external_version", sa.Text(), nullable=True),
        sa.Column("crewflow_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("external_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("crewflow_updated_by", sa.Text(), nullable=True),
        sa.Column("external_updated_by", sa.Text(), nullable=True),
        sa.Column("last_sync_timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("crewflow_command", sa.Text(), nullable=True),
        sa.Column("external_command", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("size", sa.Double(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_id", sa.String(length=40), nullable=True),
        sa.Column("reopened_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_conflicts_company_id_companies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflicts")),
        sa.UniqueConstraint("company_id", "conflict_id", name=op.f("uq_conflicts_company_id_conflict_id")),
    )
    with op.batch_alter_table("conflicts", schema=None) as batch_op:
        batch_op.create_index("ix_conflicts_company_id_opened_at", ["company_id", "opened_at"], unique=False)
        batch_op.create_index("ix_conflicts_queue", ["company_id", "state", "opened_on", "size"], unique=False)
        batch_op.create_index("ix_conflicts_record", ["company_id", "record_type", "record_id"], unique=False)

    op.create_table(
        "conflict_resolutions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("conflict", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conflict_type", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("value", VALUE, nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("prediction_id", sa.String(length=40), nullable=True),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.Column("review", sa.Text(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewed_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name=op.f("fk_conflict_resolutions_company_id_companies")
        ),
        sa.ForeignKeyConstraint(
            ["conflict"], ["conflicts.id"], name=op.f("fk_conflict_resolutions_conflict_conflicts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict_resolutions")),
    )
    with op.batch_alter_table("conflict_resolutions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_conflict_resolutions_company_id_decided_at", ["company_id", "method", "decided_at"], unique=False
        )
        batch_op.create_index("ix_conflict_resolutions_conflict", ["conflict", "decided_at"], unique=False)
        batch_op.create_index(
            "ix_conflict_resolutions_model_version", ["model_version", "state", "decided_at"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("conflict_resolutions", schema=None) as batch_op:
        batch_op.drop_index("ix_conflict_resolutions_model_version")
        batch_op.drop_index("ix_conflict_resolutions_conflict")
        batch_op.drop_index("ix_conflict_resolutions_company_id_decided_at")

    op.drop_table("conflict_resolutions")
    with op.batch_alter_table("conflicts", schema=None) as batch_op:
        batch_op.drop_index("ix_conflicts_record")
        batch_op.drop_index("ix_conflicts_queue")
        batch_op.drop_index("ix_conflicts_company_id_opened_at")

    op.drop_table("conflicts")
    op.drop_table("conflict_switches")
