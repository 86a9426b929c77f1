"""How a measure becomes an expression: windows before each attempt, or a group before one moment."""

from typing import TYPE_CHECKING

from crewflow_assets.sync_health.measures import MEASURES, Measure
from crewflow_assets.sync_health.windows import sums_before

if TYPE_CHECKING:
    import ibis

ID = ("company_id", "integration_id")


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
