"""Daily health scores: the 30 days before the end of each UTC day, from the lake into the operational database."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, timedelta
from typing import Any

import numpy as np
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.integration_health.days import ATTEMPTS, DECISIONS, PLACE, metrics_of_sums, read_days
from crewflow_assets.integration_health.score import WINDOW_DAYS, Metrics, score_of
from crewflow_assets.lake.events import DAYS, folder_of
from crewflow_assets.store.database import batched, insert_into, transaction
from crewflow_assets.store.sync_tables import HealthScore, Integration
from crewflow_assets.store.tables import Event

ROWS_PER_STATEMENT = 1_000

Key = tuple[str, str, date]
"""Company, integration, day."""

logger = logging.getLogger("crewflow.integrations")


def write_scores(days: Sequence[date]) -> int:
    """Score every known integration as of the end of each of the days, in place of what was there.

    The lake is read before anything is locked; each day is a transaction of its own, the oldest first, and one at a
    time. Where the lake changes meanwhile, it is read again, so that of two runs at once the newer scores stay.

    Days in which an integration had no sync for 30 days are null; days before its first sync are left out.

    Returns:
        How many rows were written.
    """
    left = sorted(days)
    written = 0
    while left:
        chosen, seen = list(left), _files(left)
        metrics = metrics_of(chosen)
        for day in chosen:
            with transaction() as session:
                _lock_scores(session)
                if _files(chosen) != seen:
                    logger.info("the lake changed while days were scored; %s and later ones are scored anew", day)
                    break
                written += _write(session, day, metrics)
            left.remove(day)
    return written


def _files(days: Sequence[date]) -> list[tuple[str, int, int]]:
    """Say which files of the lake the scores of days are made from, and in which state they are."""
    first, last = f"day={min(days) - timedelta(days=WINDOW_DAYS - 1)}", f"day={max(days)}"
    attempts, decisions = (sorted(folder_of(kind).glob(DAYS)) for kind in (ATTEMPTS, DECISIONS))
    counted = [file for file in attempts if file.parent.name >= first] + decisions
    return [
        (str(file), s.st_mtime_ns, s.st_size) for file in counted if file.parent.name <= last for s in [file.stat()]
    ]


def _lock_scores(session: Session) -> None:
    """Wait until no other run writes scores, and let none begin; reading goes on."""
    begun = session.connection()  # on SQLite, where one transaction at a time may write, that is enough
    if begun.dialect.name == "postgresql":
        begun.execute(text(f"LOCK TABLE {HealthScore.__tablename__} IN SHARE ROW EXCLUSIVE MODE"))


def _write(session: Session, day: date, metrics: Mapping[Key, Metrics]) -> int:
    known = session.execute(select(Integration.company_id, Integration.integration_id, Integration.created_at))
    rows = [
        _row((company, name, day), metrics.get((company, name, day), Metrics()))
        for company, name, created_at in known
        if (company, name, day) in metrics or day >= created_at.astimezone(UTC).date()
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
