"""What each UTC day held of each integration: counts from the lake, by one Ibis expression a kind of event.

Conflicts and duplicates are those of the company: the events about them name no integration. A conflict counts once,
on the day of its first decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.arrays import Floats
from crewflow_assets.integration_health.score import Metrics
from crewflow_assets.lake.events import DAYS, folder_of, read_events

if TYPE_CHECKING:  # the code location loads without them
    import ibis
    import pyarrow as pa

ATTEMPTS, DECISIONS = "sync_attempt", "conflict_decision"
DUPLICATE = "duplicate"
SECONDS_A_DAY = 86_400
EPOCH = date(1970, 1, 1)
CLASSES = ("auth", "rate_limit", "validation")
"""Classes of errors that are told apart: each has a remedy of its own."""
COUNTED = ("total", "ok", "errors", "latency", "measured", *CLASSES)
MEASURES = (*COUNTED, "conflicts", "duplicates")
"""Of a day: syncs, successes, failures, milliseconds and how many syncs measured any, failures by class …"""
PLACE = {name: place for place, name in enumerate(MEASURES)}

Key = tuple[str, str]
"""Company, integration."""


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """Consecutive days of integrations.

    Attributes:
        keys: Whose; those that synced in these days.
        systems: The accounting system of each.
        first: The first day.
        values: Shape (integrations, days, len(MEASURES)).
    """

    keys: Sequence[Key]
    systems: Sequence[str]
    first: date
    values: Floats

    @property
    def last(self) -> date:
        """The last day."""
        return self.first + timedelta(days=self.values.shape[1] - 1)


def read_days(first: date, last: date) -> Days:
    """Return the days from ``first`` to ``last``, both included, as the lake holds them."""
    before = _midnight(last + timedelta(days=1))
    attempts, decisions = (
        read_events(kind, before=before) if any(folder_of(kind).glob(DAYS)) else None
        for kind in (ATTEMPTS, DECISIONS)
    )
    if attempts is None:
        return Days([], [], first, np.zeros((0, (last - first).days + 1, len(MEASURES))))
    return days_of(attempts, decisions, first, last)


def days_of(attempts: "ibis.Table", decisions: "ibis.Table | None", first: date, last: date) -> Days:
    """Return the days from ``first`` to ``last``, both included, from tables with the lake's columns.

    Args:
        attempts: ``sync_attempt`` events.
        decisions: ``conflict_decision`` events from the beginning on, where there are any.
        first: The first day.
        last: The last one; what happened after it is left out.
    """
    begin = (first - EPOCH).days
    found = attempts_by_day(_between(attempts, first, last)).to_pyarrow()
    names = found.select(["company_id", "integration_id"]).to_pylist()
    keys = sorted({(row["company_id"], row["integration_id"]) for row in names})
    places = {key: place for place, key in enumerate(keys)}
    who = np.array([places[row["company_id"], row["integration_id"]] for row in names], dtype=np.int64)
    values = np.zeros((len(keys), (last - first).days + 1, len(MEASURES)))
    day = found["day_number"].to_numpy() - begin
    for name in COUNTED:
        values[who, day, PLACE[name]] = _column(found, name)
    if decisions is not None:
        _add_decisions(values, keys, decisions_by_day(_between(decisions, None, last)).to_pyarrow(), begin)
    systems = dict(zip(who.tolist(), found["system"].to_pylist(), strict=True))
    return Days(keys, [systems[place] for place in range(len(keys))], first, values)


def metrics_of_sums(sums: Floats) -> Metrics:
    """Return the metrics of a stretch of days from the sums of their measures, shape (len(MEASURES),)."""
    counted = {name: round(float(sums[place])) for name, place in PLACE.items()}
    return Metrics(
        total_syncs=counted["total"],
        successful_syncs=counted["ok"],
        avg_latency_ms=float(sums[PLACE["latency"]]) / counted["measured"] if counted["measured"] else None,
        error_count=counted["errors"],
        conflicts=counted["conflicts"],
        duplicates=counted["duplicates"],
    )


def attempts_by_day(events: "ibis.Table") -> "ibis.Table":
    """Count sync attempts by company, integration and ``day_number``, the days since 1970."""
    failed = {name: ((events.error_class == name) & ~events.ok).cast("int64").sum() for name in CLASSES}
    return events.group_by("company_id", "integration_id", "day_number").aggregate(
        system=events.system.max(),
        total=events.count(),
        ok=events.ok.cast("int64").sum(),
        errors=(~events.ok).cast("int64").sum(),
        latency=events.latency_ms.sum(),
        measured=events.latency_ms.count(),
        **failed,
    )


def decisions_by_day(events: "ibis.Table") -> "ibis.Table":
    """Count decided conflicts and duplicates by company and ``day_number``, the days since 1970."""
    first = events.group_by("company_id", "conflict_id").aggregate(
        day_number=events.day_number.min(), kind=events.conflict_type.arbitrary()
    )
    return first.group_by("company_id", "day_number").aggregate(
        conflicts=(first.kind != DUPLICATE).cast("int64").sum(),
        duplicates=(first.kind == DUPLICATE).cast("int64").sum(),
    )


def _between(events: "ibis.Table", first: date | None, last: date) -> "ibis.Table":
    import ibis

    # not the date of the moment: DuckDB takes that in the machine's own timezone
    numbered = events.mutate(day_number=(events.occurred_at.epoch_seconds() // SECONDS_A_DAY).cast("int64"))
    numbered = numbered.filter(numbered.occurred_at < ibis.timestamp(_midnight(last + timedelta(days=1)).isoformat()))
    if first is None:
        return numbered
    return numbered.filter(numbered.occurred_at >= ibis.timestamp(_midnight(first).isoformat()))


def _add_decisions(values: Floats, keys: Sequence[Key], found: "pa.Table", begin: int) -> None:
    of_company: dict[str, list[int]] = {}
    for place, (company, _) in enumerate(keys):
        of_company.setdefault(company, []).append(place)
    for row in found.to_pylist():
        if row["day_number"] >= begin:
            for name in ("conflicts", "duplicates"):
                values[of_company.get(row["company_id"], []), row["day_number"] - begin, PLACE[name]] = row[name]


def _column(found: "pa.Table", name: str) -> Floats:
    values: Floats = np.nan_to_num(found[name].to_numpy().astype(np.float64))
    return values


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
