"""Daily health scores: the 30 days before the end of each UTC day, from the lake into the operational database."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, timedelta
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.integration_health.days import ATTEMPTS, PLACE, metrics_of_sums, read_days
from crewflow_assets.integration_health.score import WINDOW_DAYS, Metrics, score_of
from crewflow_assets.store.database import batched, insert_into
from crewflow_assets.store.sync_tables import HealthScore, Integration
from crewflow_assets.store.tables import Event

ROWS_PER_STATEMENT = 1_000

Key = tuple[str, str, date]
"""Company, integration, day."""


def write_scores(session: Session, days: Sequence[date]) -> int:
    """Score every known integration as of the end of each of the days, in place of what was there.

    Days in which an integration had no sync for 30 days are null; days before its first sync are left out.

    Returns:
        How many rows were written.
    """
    known = {
        (company, name): created_at.astimezone(UTC).date()
        for company, name, created_at in session.execute(
            select(Integration.company_id, Integration.integration_id, Integration.created_at)
        )
    }
    metrics = metrics_of(days)
    rows = [
        _row((company, name, day), metrics.get((company, name, day), Metrics()))
        for (company, name), since in known.items()
        for day in days
        if (company, name, day) in metrics or day >= since
    ]
    statement = insert_into(session, HealthScore.__table__)
    keys = {column.name for column in HealthScore.__table__.primary_key}
    for part in batched(rows, ROWS_PER_STATEMENT):
        session.connection().execute(
            statement.on_conflict_do_update(
                index_elements=sorted(keys),
                set_={name: statement.excluded[name] for name in part[0] if name not in keys},
            ),
            part,
        )
    return len(rows)


def metrics_of(days: Sequence[date]) -> dict[Key, Metrics]:
    """Return the metrics of the 30 days until each of the days, for integrations that synced in them."""
    if not days:
        return {}
    first = min(days) - timedelta(days=WINDOW_DAYS - 1)
    found = read_days(first, max(days))
    metrics = {}
    for day in days:
        end = (day - first).days + 1
        window = found.values[:, end - WINDOW_DAYS : end].sum(axis=1)
        for place in np.flatnonzero(window[:, PLACE["total"]]).tolist():
            metrics[*found.keys[place], day] = metrics_of_sums(window[place])
    return metrics


def unscored_days(session: Session) -> list[date]:
    """Return the days before today that have no scores yet although an integration synced, oldest first."""
    yesterday = clock.now().date() - timedelta(days=1)
    last = session.scalar(select(func.max(HealthScore.day)))
    if last is None:
        first = session.scalar(select(func.min(Event.occurred_at)).where(Event.kind == ATTEMPTS))
        if first is None:
            return []
        last = first.astimezone(UTC).date() - timedelta(days=1)
    return [last + timedelta(days=n + 1) for n in range((yesterday - last).days)]


def _row(key: Key, metrics: Metrics) -> dict[str, Any]:
    found = score_of(metrics)
    company_id, integration_id, day = key
    scored = {"company_id": company_id, "integration_id": integration_id, "day": day, "overall": found.overall}
    return scored | asdict(metrics) | asdict(found)
