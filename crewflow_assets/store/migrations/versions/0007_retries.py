"""Retries: budgets and breakers"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retry_budgets",
        sa.Column("system", sa.String(length=50), nullable=False),
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("system", "company_id", name=op.f("pk_retry_budgets")),
    )
    op.create_table(
        "retry_breakers",
        sa.Column("system", sa.String(length=50), nullable=False),
        sa.Column("next_probe_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("system", name=op.f("pk_retry_breakers")),
    )


def downgrade() -> None:
    op.drop_table("retry_breakers")
    op.drop_table("retry_budgets")
