"""How the attempts of all integrations came out in the minutes before each row: on the same API, and on every one.

Counts by minute are small, so they hold for many rows at once, and can be added up over parts of the attempts.
"""

from typing import TYPE_CHECKING

from crewflow_assets.sync_health.measures import NEIGHBOUR_MINUTES
from crewflow_assets.sync_health.windows import sums_before

if TYPE_CHECKING:
    import ibis

COUNTS = ("n", "failed", "onset", "limited")
"""What is counted of the attempts whose outcome was known in a minute."""


def outcomes_of(prepared: "ibis.Table") -> "ibis.Table":
    """Count how attempts came out, by system and the minute in which that was known."""
    by_minute = prepared.group_by(["system", prepared.known_minute.name("minute")])
    return by_minute.aggregate(**{name: prepared[name].sum().cast("int64") for name in COUNTS})


def beside_neighbours(rows: "ibis.Table", counted: "ibis.Table", statuses: "ibis.Table") -> "ibis.Table":
    """Add to rows how all attempts came out before their minutes, on the same API and on every one.

    Args:
        rows: With ``system`` and ``minute``.
        counted: Of ``outcomes_of``.
        statuses: With ``system``, ``minute`` and ``status``, the place in ``STATUSES``.
    """
    by_system = _neighbours(counted, rows, ["system"], "api", statuses)
    by_all = _neighbours(counted, rows, [], "fleet", None)
    joined = rows.left_join(by_system, ["system", "minute"]).drop("system_right", "minute_right")
    return joined.left_join(by_all, ["minute"]).drop("minute_right")


def _neighbours(
    counted: "ibis.Table", rows: "ibis.Table", keys: list[str], prefix: str, statuses: "ibis.Table | None"
) -> "ibis.Table":
    """Return how attempts came out in the whole minutes before the minute of each row, for each value of the keys.

    An attempt counts from the minute in which its outcome was known. Of statuses the last one counts, the worst of
    its minute.
    """
    import ibis

    nothing = dict.fromkeys(COUNTS, ibis.literal(0, "int64"))
    no_status = ibis.null("int64")
    parts = [
        counted.select(*keys, "minute", *COUNTS).mutate(status=no_status),
        rows.select(*keys, "minute").distinct().mutate(**nothing, status=no_status),
    ]
    if statuses is not None:
        parts.append(statuses.mutate(**nothing))
    columns = [*keys, "minute", *COUNTS, "status"]
    u = ibis.union(*(part.select(*columns) for part in parts))
    grid = u.group_by([*keys, "minute"]).aggregate(
        **{name: u[name].sum() for name in COUNTS}, status=(u.minute * 8 + u.status).max()
    )
    wanted = {f"{prefix}_{name}_{n}m": (name, n) for n in NEIGHBOUR_MINUTES for name in COUNTS}
    also = {}
    if statuses is not None:
        before = ibis.rows_window(group_by=keys, order_by="minute", preceding=(None, 1))
        also[f"{prefix}_status"] = (grid.status.max().over(before) % 8).cast("float64")
    return sums_before(grid, keys, "minute", wanted, also).select(*keys, "minute", *wanted, *also)
