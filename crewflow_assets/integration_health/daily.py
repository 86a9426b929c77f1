"""Daily health scores: the 30 days before the end of each UTC day, from the lake into the operational database."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.integration_health.score import Metrics, score_of
from crewflow_assets.lake.events import folder_of, read_events
from crewflow_assets.store.database import batched
from crewflow_assets.store.sync_tables import HealthScore, Integration
from crewflow_assets.store.tables import Event

if TYPE_CHECKING:  # the code location loads without it
    import ibis

WINDOW_DAYS = 30
ATTEMPTS, DECISIONS = "sync_attempt", "conflict_decision"
DUPLICATE = "duplicate"
SECONDS_A_DAY = 86_400
ROWS_PER_STATEMENT = 1_000
EPOCH = date(1970, 1, 1)

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
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(HealthScore.__table__)  # type: ignore[arg-type]  # declared as FromClause, is a Table
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
    """Return the metrics of the 30 days until each of the days, for integrations that synced in them.

    Conflicts and duplicates are those of the company: the events about them name no integration.
    """
    found = {
        (row["company_id"], row["integration_id"], _date(row["until"])): row
        for row in _windowed(ATTEMPTS, days, _attempts_by_day, _attempts_in_window)
    }
    decided = {
        (row["company_id"], _date(row["until"])): row
        for row in _windowed(DECISIONS, days, _decisions_by_day, _decisions_in_window)
    }
    return {
        key: Metrics(
            total_syncs=int(row["total"]),
            successful_syncs=int(row["ok"]),
            avg_latency_ms=row["latency"] / row["measured"] if row["measured"] else None,
            error_count=int(row["total"] - row["ok"]),
            conflicts=int(decided[key[0], key[2]]["conflicts"]) if (key[0], key[2]) in decided else 0,
            duplicates=int(decided[key[0], key[2]]["duplicates"]) if (key[0], key[2]) in decided else 0,
        )
        for key, row in found.items()
    }


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


Aggregate = Callable[["ibis.Table"], "ibis.Table"]


def _windowed(kind: str, days: Sequence[date], by_day: Aggregate, in_window: Aggregate) -> list[dict[str, Any]]:
    """Aggregate the events of a kind by day, then over the window before the end of each of the days."""
    import ibis

    if not days or not any(folder_of(kind).glob("day=*/events.parquet")):
        return []
    numbers = sorted((day - EPOCH).days for day in days)
    begin = EPOCH + timedelta(days=numbers[0] - WINDOW_DAYS + 1)
    end = EPOCH + timedelta(days=numbers[-1] + 1)
    events = read_events(kind, before=_midnight(end))
    events = events.filter(events.occurred_at >= ibis.timestamp(_midnight(begin).isoformat()))
    # not the date of the moment: DuckDB takes that in the machine's own timezone
    daily = by_day(events.mutate(day_number=(events.occurred_at.epoch_seconds() // SECONDS_A_DAY).cast("int64")))
    until = ibis.memtable({"until": numbers}, schema={"until": "int64"})
    in_reach = (daily.day_number <= until.until) & (daily.day_number > until.until - WINDOW_DAYS)
    rows: list[dict[str, Any]] = in_window(daily.join(until, in_reach)).to_pyarrow().to_pylist()
    return rows


def _attempts_by_day(events: "ibis.Table") -> "ibis.Table":
    return events.group_by("company_id", "integration_id", "day_number").aggregate(
        total=events.count(),
        ok=events.ok.cast("int64").sum(),
        latency=events.latency_ms.sum(),
        measured=events.latency_ms.count(),
    )


def _attempts_in_window(daily: "ibis.Table") -> "ibis.Table":
    sums = {name: daily[name].sum() for name in ("total", "ok", "latency", "measured")}
    return daily.group_by("company_id", "integration_id", "until").aggregate(**sums)


def _decisions_by_day(events: "ibis.Table") -> "ibis.Table":
    # a conflict may be decided again: it counts once, on the day of its first decision
    first = events.group_by("company_id", "conflict_id").aggregate(
        day_number=events.day_number.min(), kind=events.conflict_type.arbitrary()
    )
    return first.group_by("company_id", "day_number").aggregate(
        conflicts=(first.kind != DUPLICATE).cast("int64").sum(),
        duplicates=(first.kind == DUPLICATE).cast("int64").sum(),
    )


def _decisions_in_window(daily: "ibis.Table") -> "ibis.Table":
    return daily.group_by("company_id", "until").aggregate(
        conflicts=daily.conflicts.sum(), duplicates=daily.duplicates.sum()
    )


def _date(number: int) -> date:
    return EPOCH + timedelta(days=number)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _row(key: Key, metrics: Metrics) -> dict[str, Any]:
    found = score_of(metrics)
    company_id, integration_id, day = key
    scored = {"company_id": company_id, "integration_id": integration_id, "day": day, "overall": found.overall}
    return scored | asdict(metrics) | asdict(found)
