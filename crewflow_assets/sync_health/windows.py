"""Sums over the time before each row, as differences of running sums.

A window of time costs an engine a search for its edge at every row, for each sum anew. Here the running sums of all
columns are looked up together, once for each span: with 24 sums over three spans that is several times faster on
DuckDB, and on Spark, which would add up each window row by row, the more the longer the spans are.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis


def sums_before(
    t: "ibis.Table",
    keys: Sequence[str],
    order: str,
    wanted: Mapping[str, tuple[str, int]],
    also: "Mapping[str, ibis.Value] | None" = None,
) -> "ibis.Table":
    """Add sums over the rows that lie before each row by 1 to ``span``, as ``float64``; 0 where there is none.

    Args:
        t: The rows.
        keys: Rows that differ in these columns do not see each other.
        order: A column of whole numbers: the time.
        wanted: For each new column the column of whole numbers to add up, where nothing counts 0, and the span.
        also: Other columns to add, which are computed in the same pass.
    """
    import ibis

    columns = dict.fromkeys(column for column, _ in wanted.values())
    until_now = ibis.range_window(group_by=keys, order_by=order, preceding=None, following=0)
    running = {f"upto_{name}": t[name].fill_null(0).sum().over(until_now).cast("int64") for name in columns}
    t = t.mutate(**(also or {}), **running)
    ends = {0: list(columns)}
    for column, span in wanted.values():
        ends[span] = list(dict.fromkeys([*ends.get(span, []), column]))
    found = {}
    for span, names in ends.items():
        sums = ibis.struct({name: t[f"upto_{name}"] for name in names})
        window = ibis.range_window(group_by=keys, order_by=order, preceding=(None, span + 1))
        found[f"before_{span}"] = sums.last(include_null=True).over(window)
    t = t.mutate(**found)
    added = {
        name: (t["before_0"][column].fill_null(0) - t[f"before_{span}"][column].fill_null(0)).cast("float64")
        for name, (column, span) in wanted.items()
    }
    return t.mutate(**added).drop(*found, *running)
