"""When a rate limit will be hit, from the calls that are left and the pace at which they have been used."""

import math
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.sync_health.measures import MINUTE, OWN_EXCLUDED, SECOND

if TYPE_CHECKING:
    from crewflow_assets.sync_health.contract import RateLimitForecast
    from crewflow_assets.sync_health.features import Described

WITHIN_MINUTES = 120.0
"""The probability is that of hitting the limit within this time: as long as slowing down lasts."""
FARTHEST_MINUTES = 24 * 60.0
TAIL = 0.1
TYPICAL_AT_HALF, BY_USED_SHARE, SPREAD = 2.07, -1.52, 0.745
"""The time to the limit, as a multiple of the time at the last pace, is taken as log-logistic: its median where half
of the calls are used, by how much the median's logarithm changes with the share used, and the scale. A burst of calls
ends sooner than it would use all of them, and half a limit is seldom the first half of a whole one. Fitted by maximum
likelihood to simulated worlds of the seeds 1 to 12; ``benchmarks.sync_health_twin`` tells how it holds in others."""


def forecast(d: "Described", row: int) -> "RateLimitForecast | None":
    """Return when an integration hits its rate limit: the median, with an 80 % interval.

    The pace is the mean over the last three stretches between attempts; stretches in which the calls began anew do
    not count. That they begin anew before the limit is hit is not foreseen.

    Returns:
        None where calls left are not reported, fewer than two stretches count, the limit is over a day away, or the
        next sync comes after the time for which the API said to wait, so that what was left is of the past.
    """
    from crewflow_assets.sync_health.contract import RateLimitForecast

    left, pace = d["calls_left_1"][row], _pace(d, row)
    if pace is None or math.isnan(left):
        return None
    if (d["micros"][row] - d["micros_1"][row]) / SECOND >= d["last_retry_after"][row]:
        return None
    if left <= 0:
        return RateLimitForecast(minutes=0, low_minutes=0, high_minutes=0, probability=1)
    share = 1 - left / d["last_calls_limit"][row]
    used = 0.5 if math.isnan(share) else min(max(share, 0.0), 1.0)
    median = left / pace * TYPICAL_AT_HALF * math.exp(BY_USED_SHARE * (used - 0.5))
    since = (d["micros"][row] - d["lead"][row] - d["micros_1"][row]) / MINUTE
    passed = _share_by(since, median)  # it was not hit in the time since the last attempt, as far as is known

    def by(share: float) -> float:
        reached = passed + share * (1 - passed)
        return max(float(median * (reached / (1 - reached)) ** SPREAD - since), 0.0)

    minutes, high = by(0.5), by(1 - TAIL)
    if minutes > FARTHEST_MINUTES:
        return None
    return RateLimitForecast(
        minutes=round(minutes, 1),
        low_minutes=round(by(TAIL), 1),
        high_minutes=None if high > FARTHEST_MINUTES else round(high, 1),
        probability=round((_share_by(since + WITHIN_MINUTES, median) - passed) / (1 - passed), 4),
    )


def _share_by(minutes: float, median: float) -> float:
    """Return the share of limits hit by so many minutes after the last attempt."""
    return 0.0 if minutes <= 0 else 1 / (1 + (median / minutes) ** (1 / SPREAD))


def _pace(d: "Described", row: int) -> float | None:
    """Return the calls used a minute; None where too little is known or none were used."""
    found = []
    for k in OWN_EXCLUDED[:-1]:
        used = d[f"calls_left_{k + 1}"][row] - d[f"calls_left_{k}"][row]
        minutes = (d[f"micros_{k}"][row] - d[f"micros_{k + 1}"][row]) / MINUTE
        if used >= 0 and minutes > 0:  # more left than before: the calls began anew
            found.append(used / minutes)
    if len(found) < 2 or not any(found):
        return None
    return float(np.mean(found))
