"""When the grant of an integration ends, so that people are asked for a new one before"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("grant_ends_at", "grant_said_at"):
        op.add_column("integrations", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("integrations", "grant_said_at")
    op.drop_column("integrations", "grant_ends_at")
