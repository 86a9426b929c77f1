"""Calls that wait for what a person has to mend, so that they are made once more when that shows"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retry_holds",
        sa.Column("company_id", sa.String(length=100), nullable=False),
        sa.Column("integration_id", sa.String(length=100), nullable=False),
        sa.Column("call_id", sa.String(length=100), nullable=False),
        sa.Column("release_on", sa.String(length=20), nullable=False),
        sa.Column("system", sa.String(length=50), nullable=False),
        sa.Column("error_class", sa.String(length=20), nullable=False),
        sa.Column("record_type", sa.String(length=100), nullable=True),
        sa.Column("record_id", sa.String(length=100), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("company_id", "integration_id", "call_id", "release_on", name=op.f("pk_retry_holds")),
    )
    op.create_index("ix_retry_holds_record", "retry_holds", ["company_id", "record_type", "record_id"])


def downgrade() -> None:
    op.drop_table("retry_holds")
