"""What went before each sync: one Ibis expression over ``sync_attempt`` and ``api_status`` events.

A sync is described by what is known strictly before a moment, which lies ``lead_minutes`` before it and after the
attempt before it: its integration's own attempts, and how the attempts of all on the same API, and on every API, came
out in the whole minutes before the moment. Sums are of whole numbers (microseconds, thousandths of a logarithm), so
that they are the same in whatever order an engine adds them.

``history`` describes every attempt, for training; ``due`` describes syncs that are due, for serving. Both are made of
the same parts and give the same numbers.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from crewflow_assets.sync_health.error_classes import error_class_of
from crewflow_assets.sync_health.measures import (
    ERRORS,
    MEASURES,
    MINUTE,
    NEIGHBOUR_MINUTES,
    OWN_EXCLUDED,
)
from crewflow_assets.sync_health.measuring import (
    ID,
    Engine,
    in_order,
    measured_before,
    measured_before_due,
    micros_of,
)
from crewflow_assets.sync_health.neighbours import COUNTS, beside_neighbours, outcomes_of

if TYPE_CHECKING:
    import duckdb
    import ibis
    import pyarrow as pa

STATUSES = ("operational", "maintenance", "degraded", "partial_outage", "major_outage")
"""In the order of how bad they are; a place in it stands for a status."""
_KEYS = {"event_id": "string", "company_id": "string", "integration_id": "string", "system": "string"}
_MOMENT = {"occurred_at": "timestamp('UTC', 6)"}
_LEAD = {"lead_minutes": "float64"}
ATTEMPT_COLUMNS = {
    **_KEYS,
    **_MOMENT,
    "ok": "boolean",
    "latency_ms": "float64",
    "status_code": "int64",
    "error_class": "string",
    "network_latency_ms": "float64",
    "calls": "int64",
    "calls_left": "int64",
    "calls_limit": "int64",
    "rate_limit_hits": "int64",
    "retry_after_seconds": "float64",
    "records_failed": "int64",
    "interval_minutes": "float64",
    **_LEAD,
}
"""The columns of ``sync_attempt`` that count, and how long before the attempt it is described."""
DUE_COLUMNS = {**_KEYS, **_MOMENT, **_LEAD}
"""Syncs that are due at ``occurred_at``, one for each integration, described ``lead_minutes`` before."""
STATUS_COLUMNS = {"system": "string", **_MOMENT, "status": "string"}


PREPARED = tuple(
    dict.fromkeys(
        [*(measure.column for measure in MEASURES.values()), *COUNTS, "micros", "known_minute", "error", "interval"]
    )
)
"""The whole numbers of an attempt that measures and neighbours add up."""


@lru_cache(maxsize=8)
def compiled(form: Literal["history", "due", "prepared", "statuses"] = "history", engine: Engine = "duckdb") -> str:
    """Return the expression as SQL, compiled once.

    Its tables are named ``attempts`` and ``statuses``, for syncs that are due also ``around`` and ``due``. Two forms
    are its parts: the ``PREPARED`` columns of the attempts, and the minutes and places of the ``statuses``.
    """
    import ibis

    getattr(ibis, engine)  # loads the backend, whose options its compiler reads
    attempts = ibis.table(ATTEMPT_COLUMNS, name="attempts")
    statuses = ibis.table(STATUS_COLUMNS, name="statuses")
    if form == "prepared":
        ready = _prepared(attempts, engine).select(*_KEYS, *PREPARED)
        return str(ibis.to_sql(ready.order_by(["micros", "event_id"]), dialect=engine))
    if form == "statuses":
        return str(ibis.to_sql(_statuses(statuses, engine), dialect=engine))
    if form == "history":
        return str(ibis.to_sql(history(attempts, statuses, engine), dialect=engine))
    around, syncs = ibis.table(ATTEMPT_COLUMNS, name="around"), ibis.table(DUE_COLUMNS, name="due")
    return str(ibis.to_sql(due(attempts, around, statuses, syncs, engine), dialect=engine))


def history(
    attempts: "ibis.Table", statuses: "ibis.Table", engine: Engine = "duckdb", counted: "ibis.Table | None" = None
) -> "ibis.Table":
    """Describe each attempt by what went before it.

    Args:
        attempts: Of ``ATTEMPT_COLUMNS``, all of each integration that occurs.
        statuses: Of ``STATUS_COLUMNS``.
        engine: Whose SQL it is going to be.
        counted: ``outcomes`` of the attempts of all integrations, where ``attempts`` are not all.
    """
    rows = _at_its_minute(measured_before(_prepared(attempts, engine)))
    counted = outcomes_of(rows) if counted is None else counted
    described = beside_neighbours(rows, counted, _statuses(statuses, engine))
    return described.select(*_KEYS, "occurred_at", "ok", "failed", "error", *_described())


def outcomes(attempts: "ibis.Table", engine: Engine = "duckdb") -> "ibis.Table":
    """Count how attempts came out, by system and the minute in which that was known; see ``history``."""
    return outcomes_of(_prepared(attempts, engine))


def due(
    attempts: "ibis.Table",
    around: "ibis.Table",
    statuses: "ibis.Table",
    syncs: "ibis.Table",
    engine: Engine = "duckdb",
) -> "ibis.Table":
    """Describe each sync that is due by what went before its moment; see ``history``.

    Args:
        attempts: Those of the integrations asked about, before the moment.
        around: Those of all integrations in the hour before the moment, and the one before these of each.
        statuses: Of ``STATUS_COLUMNS``.
        syncs: Of ``DUE_COLUMNS``.
        engine: Whose SQL it is going to be.
    """
    syncs = syncs.mutate(micros=micros_of(syncs.occurred_at, engine))
    rows = syncs.left_join(measured_before_due(_numbers(attempts, engine), syncs), ID)
    sums = [name for name, measure in MEASURES.items() if measure.how in ("sum", "count")]
    rows = rows.mutate(**{name: rows[name].fill_null(0) for name in ("place", *sums)})
    rows = _at_its_minute(rows)
    described = beside_neighbours(rows, outcomes(around, engine), _statuses(statuses, engine))
    return described.select(*_KEYS, "occurred_at", *_described())


def _described() -> list[str]:
    own = [f"own_{name}_{n}m" for n in NEIGHBOUR_MINUTES for name in ("n", "failed", "limited")]
    others = [f"{prefix}_{name}_{n}m" for prefix in ("api", "fleet") for n in NEIGHBOUR_MINUTES for name in COUNTS]
    return ["lead", "place", *MEASURES, *own, *others, "api_status"]


def _prepared(attempts: "ibis.Table", engine: Engine) -> "ibis.Table":
    return in_order(_numbers(attempts, engine))


def _numbers(attempts: "ibis.Table", engine: Engine) -> "ibis.Table":
    """Add what each attempt alone gives to measure, as whole numbers."""
    import ibis

    t = attempts.select(*ATTEMPT_COLUMNS)
    micros = micros_of(t.occurred_at, engine)
    latency = (t.latency_ms * 1000).round().cast("int64")
    log_latency = ibis.ifelse(t.ok, ((t.latency_ms + 1).ln() * 1000).round().cast("int64"), ibis.null("int64"))
    t = t.mutate(
        micros=micros,
        known_minute=((micros + latency.fill_null(0)) // MINUTE).cast("int64"),
        latency=latency,
        log_latency=log_latency,
        log_latency_sq=log_latency * log_latency,
        network=(t.network_latency_ms * 1000).round().cast("int64"),
        interval=t.interval_minutes,
        retry_after=t.retry_after_seconds,
        n=ibis.literal(1, "int64"),
        succeeded=t.ok.ifelse(1, 0).cast("int64"),
        failed=t.ok.ifelse(0, 1).cast("int64"),
        error=ibis.ifelse(t.ok, 0, error_class_of(t)).cast("int64"),
    )
    return t.mutate(
        limited=(t.error == 1).ifelse(1, 0).cast("int64"),
        ok_micros=ibis.ifelse(t.ok, t.micros, ibis.null("int64")),
        failed_micros=ibis.ifelse(t.ok, ibis.null("int64"), t.micros),
        **{f"is_{name}": (t.error == i + 1).ifelse(1, 0).cast("int64") for i, name in enumerate(ERRORS)},
    )


def _at_its_minute(t: "ibis.Table") -> "ibis.Table":
    """Add the moment's minute, and which of the own attempts the neighbours' windows would count."""
    import ibis

    known = t.last_micros + t.last_latency.fill_null(0)
    lead = (t.lead_minutes * MINUTE).round().cast("int64").fill_null(0)
    lead = ibis.greatest(ibis.least(lead, (t.micros - known).fill_null(lead)), 0)
    t = t.mutate(lead=lead, minute=((t.micros - lead) // MINUTE).cast("int64"))
    own = {}
    for n in NEIGHBOUR_MINUTES:
        inside = {k: t[f"known_minute_{k}"].between(t.minute - n, t.minute - 1) for k in OWN_EXCLUDED}
        own[f"own_n_{n}m"] = _count(list(inside.values()))
        own[f"own_failed_{n}m"] = _count([inside[k] & (t[f"error_{k}"] > 0) for k in OWN_EXCLUDED])
        own[f"own_limited_{n}m"] = _count([inside[k] & (t[f"error_{k}"] == 1) for k in OWN_EXCLUDED])
    return t.mutate(**own)


def _count(conditions: "list[ibis.Value]") -> "ibis.Value":
    total = conditions[0].ifelse(1, 0).fill_null(0)
    for condition in conditions[1:]:
        total = total + condition.ifelse(1, 0).fill_null(0)
    return total


def _statuses(statuses: "ibis.Table", engine: Engine) -> "ibis.Table":
    import ibis

    places = [(statuses.status == status, place) for place, status in enumerate(STATUSES)]
    return statuses.select(
        "system",
        micros=micros_of(statuses.occurred_at, engine),
        minute=(micros_of(statuses.occurred_at, engine) // MINUTE).cast("int64"),
        status=ibis.cases(*places, else_=0).cast("int64"),
    )


def describe(attempts: "pa.Table", statuses: "pa.Table", syncs: "pa.Table | None" = None) -> "pa.Table":
    """Describe Arrow tables on DuckDB: each attempt (``history``), or the syncs that are due; in no particular order.

    Args:
        attempts: Of ``ATTEMPT_COLUMNS``; for syncs that are due, their integrations' and those around them.
        statuses: Of ``STATUS_COLUMNS``.
        syncs: Of ``DUE_COLUMNS``.
    """
    import duckdb

    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("attempts", attempts)
        connection.register("statuses", statuses)
        if syncs is None:
            return connection.sql(compiled("history")).to_arrow_table()
        connection.register("around", attempts)
        connection.register("due", syncs)
        return due_described(connection)


def due_described(connection: "duckdb.DuckDBPyConnection") -> "pa.Table":
    """Return what ``due`` finds on a connection that has its tables.

    It goes into a table first: as a relation it would be planned twice, which takes longer than to run it.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE described AS {compiled('due')}")
    return connection.sql("FROM described").to_arrow_table()
