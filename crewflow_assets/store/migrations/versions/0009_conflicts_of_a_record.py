"""A record's later conflicts are found by one index, so that undoing many at once is linear"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BEFORE = ["company_id", "record_type", "record_id"]


def upgrade() -> None:
    op.drop_index("ix_conflicts_record", "conflicts")
    op.create_index("ix_conflicts_record", "conflicts", [*BEFORE, "conflict_type", "opened_at"])


def downgrade() -> None:
    op.drop_index("ix_conflicts_record", "conflicts")
    op.create_index("ix_conflicts_record", "conflicts", BEFORE)
