"""When a rate limit will be hit, from the calls that are left and the pace at which they have been used."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.sync_health.measures import MINUTE, OWN_EXCLUDED

if TYPE_CHECKING:
    from crewflow_assets.sync_health.contract import RateLimitForecast
    from crewflow_assets.sync_health.features import Described

WITHIN_MINUTES = 120.0
"""The probability is that of hitting the limit within this time: as long as slowing down lasts."""
FARTHEST_MINUTES = 24 * 60.0
LEAST_SPREAD = 0.1
"""Of the pace: three differences may agree by chance, the next hour need not."""
TAIL = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """Calls used a minute: mean and spread of what the next stretch may bring, with its degrees of freedom."""

    mean: float
    spread: float
    freedom: int


def forecast(d: "Described", row: int) -> "RateLimitForecast | None":
    """Return when an integration hits its rate limit if it goes on as it has, with an 80 % interval.

    The pace is the mean over the last three stretches between attempts; stretches in which the calls began anew do
    not count. What the next hours bring is taken as Student-t about it.

    Returns:
        None where calls left are not reported, fewer than two stretches count, or the limit is over a day away.
    """
    from scipy.special import stdtr, stdtrit

    from crewflow_assets.sync_health.contract import RateLimitForecast

    left = d["calls_left_1"][row]
    pace = _pace(d, row)
    if pace is None or math.isnan(left) or pace.mean <= 0:
        return None
    since = (d["micros"][row] - d["lead"][row] - d["micros_1"][row]) / MINUTE
    minutes = max(left / pace.mean - since, 0.0)
    if minutes > FARTHEST_MINUTES:
        return None
    reach = float(stdtrit(pace.freedom, 1 - TAIL)) * pace.spread
    slowest = pace.mean - reach
    high = None if slowest <= 0 else max(left / slowest - since, 0.0)
    needed = left / (WITHIN_MINUTES + since)
    return RateLimitForecast(
        minutes=round(minutes, 1),
        low_minutes=round(max(left / (pace.mean + reach) - since, 0.0), 1),
        high_minutes=None if high is None else round(high, 1),
        probability=round(float(1 - stdtr(pace.freedom, (needed - pace.mean) / pace.spread)), 4),
    )


def _pace(d: "Described", row: int) -> Pace | None:
    found = []
    for k in OWN_EXCLUDED[:-1]:
        used = d[f"calls_left_{k + 1}"][row] - d[f"calls_left_{k}"][row]
        minutes = (d[f"micros_{k}"][row] - d[f"micros_{k + 1}"][row]) / MINUTE
        if used >= 0 and minutes > 0:  # more left than before: the calls began anew
            found.append(used / minutes)
    if len(found) < 2:
        return None
    mean = float(np.mean(found))
    spread = max(float(np.std(found, ddof=1)), LEAST_SPREAD * mean, 1e-9)
    return Pace(mean, spread * math.sqrt(1 + 1 / len(found)), len(found) - 1)
