"""When a rate limit will be hit, from the calls that are left and the pace at which they have been used."""

import math
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.sync_health.measures import (
    DAY,
    ERRORS,
    MINUTE,
    MINUTES_A_DAY,
    OWN_EXCLUDED,
    SECOND,
    WATCHED_STRETCH,
)

if TYPE_CHECKING:
    from crewflow_assets.sync_health.contract import RateLimitForecast
    from crewflow_assets.sync_health.features import Described

WITHIN_MINUTES = 120.0
"""The probability is that of hitting the limit within this time: as long as slowing down lasts."""
FARTHEST_MINUTES = 24 * 60.0
TAIL = 0.1
SCHEDULE_SLACK = 5 * MINUTE
"""A sync runs some minutes earlier or later than the day before."""
REFUSED = 1.0 + ERRORS.index("rate_limit")
TYPICAL_AT_HALF, BY_USED_SHARE, SPREAD = 2.07, -1.52, 0.745
"""The time to the limit, as a multiple of the time at the last pace, is taken as log-logistic: its median where half
of the calls are used, by how much the median's logarithm changes with the share used, and the scale. A burst of calls
ends sooner than it would use all of them, and half a limit is seldom the first half of a whole one. Fitted by maximum
likelihood to simulated worlds of the seeds 1 to 12."""
SAID, HELD = (0.0, 0.274, 0.49, 0.959, 1.0), (0.0, 0.1, 0.5, 0.9, 1.0)
"""That distribution is too wide below its median. What it says is put right by how many limits were hit by then in
simulated worlds of the seeds 1 to 24 (Kaplan-Meier, as calls that begin anew hide the rest; Kuleshov, Fenner and
Ermon 2018, "Accurate Uncertainties for Deep Learning Using Calibrated Regression"). ``benchmarks.sync_health_twin``
tells how it holds in others."""


def forecast(d: "Described", row: int) -> "RateLimitForecast | None":
    """Return when an integration hits its rate limit: the median, with an 80 % interval.

    The pace is the mean over the last three stretches between attempts; stretches in which the calls began anew do
    not count. A limit that refused the last attempt is taken as hit until the time is over for which the API said
    to wait. Where the calls will begin anew first, the limit is not hit.

    Returns:
        None where calls left are not reported and none was refused for long, fewer than two stretches count, the
        limit is over a day away or further than the moment at which the calls begin anew, or they do so before the
        next sync.
    """
    from crewflow_assets.sync_health.contract import RateLimitForecast

    due, last = d["micros"][row], d["micros_1"][row]
    now = due - d["lead"][row]
    left, pace, reset_at = d["calls_left_1"][row], _pace(d, row), _reset_at(d, row)
    told_until = last + d["last_retry_after"][row] * SECOND
    stated = not math.isnan(told_until) and bool(d["error_1"][row] == REFUSED or left <= 0)
    if stated:
        reset_at, left = told_until, 0.0
    if reset_at is not None and due >= reset_at - SCHEDULE_SLACK:
        return None
    reset = None if reset_at is None else round((reset_at - now) / MINUTE, 1)
    if left <= 0:
        return RateLimitForecast(
            minutes=0, low_minutes=0, high_minutes=0, probability=1, reset_minutes=reset, reset_stated=stated
        )
    if pace is None or math.isnan(left):
        return None
    share = 1 - left / d["last_calls_limit"][row]
    used = 0.5 if math.isnan(share) else min(max(share, 0.0), 1.0)
    median = left / pace * TYPICAL_AT_HALF * math.exp(BY_USED_SHARE * (used - 0.5))
    since = (now - last) / MINUTE
    passed = _share_by(since, median)  # it was not hit in the time since the last attempt, as far as is known

    def by(share: float) -> float:
        reached = passed + float(np.interp(share, HELD, SAID)) * (1 - passed)
        return max(float(median * (reached / (1 - reached)) ** SPREAD - since), 0.0)

    def chance(minutes: float) -> float:
        said = (_share_by(since + minutes, median) - passed) / (1 - passed)
        return round(float(np.interp(said, SAID, HELD)), 4)

    farthest = min(FARTHEST_MINUTES, math.inf if reset is None else reset)
    minutes, high = by(0.5), by(1 - TAIL)
    if minutes > farthest:
        return None
    return RateLimitForecast(
        minutes=round(minutes, 1),
        low_minutes=round(by(TAIL), 1),
        high_minutes=None if high > farthest else round(high, 1),
        probability=chance(min(WITHIN_MINUTES, farthest)),
        reset_minutes=reset,
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


def _reset_at(d: "Described", row: int) -> float | None:
    """Return when the calls begin anew after the last attempt, in microseconds: a day after they last did.

    That is inferred where they did so once in the last 24 hours, at or before the attempt that first had more left
    than the one before it, and were reported all the time: calls of an hour begin anew more often than that.
    """
    last, due = d["micros_1"][row], d["micros"][row]
    unwatched = DAY - d["watched_24h"][row]
    if d["anew_24h"][row] != 1 or due - last > WATCHED_STRETCH or unwatched > due - last:
        return None
    minutes = (d["anew_minute_24h"][row] - last // MINUTE) % MINUTES_A_DAY or MINUTES_A_DAY
    return float((last // MINUTE + minutes) * MINUTE)
