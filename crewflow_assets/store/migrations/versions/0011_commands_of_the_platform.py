"""The outbox holds commands of the platform too, such as alerts about a model, which belong to no company"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbox") as table:
        table.alter_column("company_id", existing_type=sa.String(length=100), nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE company_id IS NULL")  # the former schema has no place for them
    with op.batch_alter_table("outbox") as table:
        table.alter_column("company_id", existing_type=sa.String(length=100), nullable=False)
