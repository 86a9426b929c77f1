"""A conflict keeps up to which moment each side's edits are known, so that an edit heard late is told from a new one"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = ("crewflow_seen_at", "external_seen_at")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("conflicts", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("conflicts", name)
