"""How a measure becomes an expression: windows before each attempt, or a group before one moment."""

from typing import TYPE_CHECKING, Literal

from crewflow_assets.sync_health.measures import (
    DAY,
    MEASURES,
    MEMORY_ATTEMPTS,
    MINUTE,
    MINUTES_A_DAY,
    SECOND,
    WATCHED_STRETCH,
    Measure,
)
from crewflow_assets.sync_health.windows import sums_before

if TYPE_CHECKING:
    import ibis

Engine = Literal["duckdb", "pyspark"]
ID = ("company_id", "integration_id")
MOST_CALLS = 10**9
"""Calls left count up to here, so that they fit into 64 bits beside a second since 1970."""


def measured_before(t: "ibis.Table") -> "ibis.Table":
    """Add to each attempt all ``MEASURES`` of its integration's attempts before it.

    Args:
        t: Attempts with ``events.PREPARED``.
    """
    import ibis

    counted = {m.column for m in MEASURES.values() if m.how == "count"}
    t = t.mutate(**{f"{name}_n": t[name].notnull().cast("int64") for name in counted})
    ordered = {"group_by": ID, "order_by": ["micros", "event_id"]}
    found: dict[str, ibis.Value] = {}
    spans: dict[str, tuple[str, int]] = {}
    for name, measure in MEASURES.items():
        column = t[measure.column]
        if measure.how == "at":
            found[name] = column.lag(measure.attempts).over(ibis.window(**ordered))
        elif measure.micros is not None:
            spans[name] = f"{measure.column}_n" if measure.how == "count" else measure.column, measure.micros
        else:
            window = ibis.rows_window(**ordered, preceding=(measure.attempts, 1))
            value = getattr(column, measure.how)().over(window).cast("float64")
            found[name] = value if measure.how == "max" else value.fill_null(0)
    return sums_before(t, ID, "micros", spans, also=found)


def measured_before_due(numbers: "ibis.Table", syncs: "ibis.Table") -> "ibis.Table":
    """Return all measures of the attempts before each sync that is due at its ``micros``.

    Sums over more than a day need no order. All others look at a day or at ``MEMORY_ATTEMPTS``: where two days hold
    as many, what is older is left out before attempts are put in order, which costs the most.
    """
    import ibis

    seen = numbers.inner_join(syncs.select(*ID, due_micros=syncs.micros), ID)
    seen = seen.filter(seen.micros < seen.due_micros)
    long = {name: m for name, m in MEASURES.items() if m.micros is not None and m.micros > DAY}
    within = {days: seen.micros >= seen.due_micros - days * DAY for days in (1, 2)}
    totals = seen.group_by([*ID, "due_micros"]).aggregate(
        total=seen.count(),
        one_day=within[1].sum(),
        two_days=within[2].sum(),
        **{name: grouped_measure(seen, measure) for name, measure in long.items()},
    )
    # one more than are looked at, and one from before the day: what changed is seen beside the attempt before
    enough = (totals.two_days > MEMORY_ATTEMPTS + 1) & (totals.two_days > totals.one_day)
    totals = totals.mutate(
        since=ibis.ifelse(enough, totals.due_micros - 2 * DAY, 0),
        left_out=ibis.ifelse(enough, totals.total - totals.two_days, 0),
    )
    own = numbers.inner_join(totals.select(*ID, "due_micros", "total", "since", "left_out"), ID)
    own = in_order(own.filter(own.micros < own.due_micros, own.micros >= own.since), own.left_out)
    own = own.mutate(back=own.total - own.place)
    grouped = own.group_by(ID).aggregate(
        place=own.total.max(), **{name: grouped_measure(own, m) for name, m in MEASURES.items() if name not in long}
    )
    return grouped.inner_join(totals.select(*ID, *long), ID)


def grouped_measure(t: "ibis.Table", measure: Measure) -> "ibis.Value":
    """Return a measure of attempts, to be added up by integration.

    Args:
        t: Attempts before a sync that is due, with ``due_micros`` and, for measures over attempts, ``back``: how
            many attempts before the sync, from 1.
        measure: The measure.
    """
    column = t[measure.column]
    if measure.how == "at":
        return column.max(where=t.back == measure.attempts)
    inside = t.back <= measure.attempts if measure.attempts is not None else t.micros >= t.due_micros - measure.micros
    return getattr(column, measure.how)(where=inside).cast("float64")


def in_order(t: "ibis.Table", first: "ibis.IntegerValue | int" = 0) -> "ibis.Table":
    """Add the attempt's place among its integration's, whether the outcome changed, and whether calls began anew.

    They did where more are left than when they were last reported; ``watched`` is the time since then. Both say
    nothing where that is longer than ``WATCHED_STRETCH``.
    """
    import ibis

    plain = ibis.window(group_by=ID, order_by=["micros", "event_id"])
    before = ibis.rows_window(group_by=ID, order_by=["micros", "event_id"], preceding=(None, 1))
    second = (t.micros // SECOND).cast("int64")
    told = second * MOST_CALLS + ibis.least(t.calls_left, MOST_CALLS - 1)  # one number: its maximum passes over nulls
    t = t.mutate(
        place=ibis.row_number().over(plain) + first,
        before=t.succeeded.lag().over(plain),
        told=ibis.ifelse(t.calls_left.notnull(), told, ibis.null("int64")).max().over(before),
    )
    left_before = t.told % MOST_CALLS
    since = (second - ((t.told - left_before) // MOST_CALLS).cast("int64")) * SECOND
    watched = t.calls_left.notnull() & (since <= WATCHED_STRETCH)
    anew = (watched & (t.calls_left > left_before)).ifelse(1, 0).fill_null(0).cast("int64")
    flip = (t.succeeded != t.before).ifelse(1, 0).fill_null(0).cast("int64")
    return t.mutate(
        flip=flip,
        anew=anew,
        watched=ibis.ifelse(watched, since, 0).fill_null(0).cast("int64"),
        anew_minute=anew * ((t.micros // MINUTE) % MINUTES_A_DAY).cast("int64"),
        onset=((t.failed == 1) & (t.before == 1)).ifelse(1, 0).fill_null(0).cast("int64"),
        ok_place=ibis.ifelse(t.ok, t.place, ibis.null("int64")),
        failed_place=ibis.ifelse(t.ok, ibis.null("int64"), t.place),
        flip_micros=ibis.ifelse(flip == 1, t.micros, ibis.null("int64")),
    )


def micros_of(moment: "ibis.Value", engine: Engine) -> "ibis.Value":
    """Return microseconds since 1970, whatever the session's time zone."""
    import ibis

    @ibis.udf.scalar.builtin(
        name="epoch_us" if engine == "duckdb" else "unix_micros", signature=((moment.type(),), "int64")
    )
    def micros(value):  # type: ignore[no-untyped-def]
        """The engine's own function."""

    return micros(moment)
