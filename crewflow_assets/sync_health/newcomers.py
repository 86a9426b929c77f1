"""New integration data: integrations and systems that the last training could not know."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.spec import Counted
from crewflow_assets.store.sync_tables import Integration

ENOUGH = timedelta(hours=6)
"""For so long a new integration has to have synced: before that it teaches little."""
LEAST = 4
SHARE = 0.05
"""A share of the integrations known before, below which new ones change little until the daily training."""


def new_integrations(session: Session, since: datetime, occurred_since: datetime) -> dict[str, Counted]:
    """Count the integrations of each system that became known since a moment and have synced for some hours.

    Any integration of a system without former ones is over its limit; of others, more than a twentieth of those
    known before, and more than four.
    """
    new = Integration.created_at >= max(since, occurred_since)
    synced = Integration.last_attempt_at.is_not(None)
    rows = session.execute(
        select(Integration.system, Integration.created_at, Integration.last_attempt_at).where(new, synced)
    ).all()
    enough = [system for system, first, last in rows if last is not None and last - first >= ENOUGH]
    before = select(Integration.system, func.count()).where(~new, synced).group_by(Integration.system)
    known = dict(session.execute(before).all())
    return {
        system: Counted(enough.count(system), max(LEAST, SHARE * known[system]) if system in known else 0)
        for system in sorted(set(enough))
    }
