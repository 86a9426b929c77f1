"""Integrations: their state, risk, actions, alerts and scores"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("integration_id", sa.String(length=100), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("failure_probability", sa.Double(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times_seen", sa.Integer(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_alerts_company_id_companies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.create_index("ix_alerts_company_id_told_at", ["company_id", "told_at"], unique=False)
        batch_op.create_index("ix_alerts_state_last_seen_at", ["state", "last_seen_at"], unique=False)
        batch_op.create_index(
            "uq_alerts_open",
            ["company_id", "integration_id", "cause"],
            unique=True,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        )

    op.create_table(
        "health_scores",
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("integration_id", sa.String(length=100), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("total_syncs", sa.Integer(), nullable=False),
        sa.Column("successful_syncs", sa.Integer(), nullable=False),
        sa.Column("avg_latency_ms", sa.Double(), nullable=True),
        sa.Column("error_count", sa.Integer(), nullable=False),
        sa.Column("conflicts", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("sync_success_rate", sa.Double(), nullable=True),
        sa.Column("latency", sa.Double(), nullable=True),
        sa.Column("error_rate", sa.Double(), nullable=True),
        sa.Column("data_quality", sa.Double(), nullable=True),
        sa.Column("overall", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_health_scores_company_id_companies")),
        sa.PrimaryKeyConstraint("company_id", "integration_id", "day", name=op.f("pk_health_scores")),
    )
    op.create_table(
        "integrations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("integration_id", sa.String(length=100), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("interval_minutes", sa.Double(), nullable=True),
        sa.Column("freshness_minutes", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("action_id", sa.String(length=40), nullable=True),
        sa.Column("needs_authorisation", sa.Boolean(), nullable=False),
        sa.Column("last_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_ok_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_integrations_company_id_companies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_integrations")),
        sa.UniqueConstraint("company_id", "integration_id", name=op.f("uq_integrations_company_id_integration_id")),
    )
    op.create_table(
        "sync_actions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("integration_id", sa.String(length=100), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("interval_minutes", sa.Double(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_reason", sa.Text(), nullable=True),
        sa.Column("failure_probability", sa.Double(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True),
        sa.Column("prediction_id", sa.String(length=40), nullable=True),
        sa.Column("propensity", sa.Double(), nullable=False),
        sa.Column("command_key", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_sync_actions_company_id_companies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_actions")),
    )
    with op.batch_alter_table("sync_actions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_sync_actions_integration", ["company_id", "integration_id", "decided_at"], unique=False
        )
        batch_op.create_index("ix_sync_actions_company_id_decided_at", ["company_id", "decided_at"], unique=False)

    op.create_table(
        "sync_risks",
        sa.Column(
            "integration", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("assessed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failure_probability", sa.Double(), nullable=False),
        sa.Column("horizon_minutes", sa.Double(), nullable=True),
        sa.Column("risk_factors", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("forecast", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration"], ["integrations.id"], name=op.f("fk_sync_risks_integration_integrations")
        ),
        sa.PrimaryKeyConstraint("integration", name=op.f("pk_sync_risks")),
    )


def downgrade() -> None:
    op.drop_table("sync_risks")
    with op.batch_alter_table("sync_actions", schema=None) as batch_op:
        batch_op.drop_index("ix_sync_actions_company_id_decided_at")
        batch_op.drop_index("ix_sync_actions_integration")

    op.drop_table("sync_actions")
    op.drop_table("integrations")
    op.drop_table("health_scores")
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_alerts_open", sqlite_where=sa.text("state = 'open'"), postgresql_where=sa.text("state = 'open'")
        )
        batch_op.drop_index("ix_alerts_state_last_seen_at")
        batch_op.drop_index("ix_alerts_company_id_told_at")

    op.drop_table("alerts")
