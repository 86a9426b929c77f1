"""New integration data: integrations and systems that the last training could not know."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.spec import Counted
from crewflow_assets.store.sync_tables import Integration

ENOUGH = timedelta(hours=6)
"""For so long an integration has to be known: a training before that learns little of it."""
LEAST = 4
SHARE = 0.05
"""A share of the integrations known before, below which new ones change little until the daily training."""


def new_integrations(session: Session, since: datetime, occurred_since: datetime) -> dict[str, Counted]:
    """Count the integrations with syncs, of each system, that became known for long enough since a moment.

    Not measured from attempt to attempt: those that an import brought happened before the integration was known.
    Any integration of a system without former ones is over its limit; of others, more than a twentieth of those
    known before, and more than four.
    """
    until = max(since - ENOUGH, occurred_since)
    synced = select(Integration.system, func.count()).where(Integration.last_attempt_at.is_not(None))
    systems = synced.group_by(Integration.system).order_by(Integration.system)
    known_before = Integration.created_at <= until
    new = (Integration.created_at > until, Integration.created_at <= clock.now() - ENOUGH)
    known = dict(session.execute(systems.where(known_before)).all())
    return {
        system: Counted(number, max(LEAST, SHARE * known[system]) if system in known else 0)
        for system, number in session.execute(systems.where(*new)).all()
    }
