"""What is measured of an integration's own attempts: each measure is a column, how it is added up, and over which.

The list is written once. ``events`` makes of it a window for every attempt (training) and a group for the attempts
before one moment (serving), which is the same number for a fraction of the work.
"""

from dataclasses import dataclass
from typing import Literal

SECOND = 1_000_000
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
DAY = 24 * HOUR
MINUTES_A_DAY = 24 * 60
MEMORY_ATTEMPTS = 30
MEMORY_DAYS = 7
"""No measure looks further back than this many attempts or days."""
WATCHED_STRETCH = 5 * HOUR
"""Where calls left were not reported for longer, they may have begun anew unseen; four-hourly syncs run late."""
RECENT_ATTEMPTS = (3, 7, 14, MEMORY_ATTEMPTS)
NEIGHBOUR_MINUTES = (15, 60)
OWN_EXCLUDED = (1, 2, 3, 4)
"""So many of an integration's last attempts are not counted among its neighbours'."""
ERRORS = ("rate_limit", "auth", "server", "timeout", "connection", "refused")
"""The classes of errors; 1 + a place in it stands for a class, 0 for success."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A whole-number column of the attempts, over the last ``attempts`` of them or those of the last ``micros``.

    ``how`` is ``sum`` or ``count`` (0 where there is none), ``max``, or ``at``: the one that lies ``attempts`` back.
    """

    column: str
    how: Literal["sum", "count", "max", "at"]
    attempts: int | None = None
    micros: int | None = None


def _measures() -> dict[str, Measure]:
    found = {
        f"last_{name}": Measure(name, "at", 1)
        for name in (
            *("succeeded", "micros", "latency", "network", "error", "status_code", "calls_left", "calls_limit"),
            *("rate_limit_hits", "retry_after", "records_failed", "interval"),
        )
    }
    for k in OWN_EXCLUDED:
        found[f"known_minute_{k}"] = Measure("known_minute", "at", k)
        found[f"error_{k}"] = Measure("error", "at", k)
        found[f"micros_{k}"] = Measure("micros", "at", k)
        found[f"calls_left_{k}"] = Measure("calls_left", "at", k)
    for name in ("ok_place", "failed_place", "ok_micros", "failed_micros", "flip_micros"):
        found[name] = Measure(name, "max", MEMORY_ATTEMPTS)
    found["longest_latency"] = Measure("log_latency", "max", 30)
    found["calls_1h"] = Measure("calls", "sum", micros=HOUR)
    found["rate_limit_hits_1h"] = Measure("rate_limit_hits", "sum", micros=HOUR)
    for window, span in (("24h", DAY), ("7d", MEMORY_DAYS * DAY)):
        found[f"attempts_{window}"] = Measure("n", "sum", micros=span)
        found[f"failures_{window}"] = Measure("failed", "sum", micros=span)
        found[f"network_{window}"] = Measure("network", "sum", micros=span)
        found[f"network_n_{window}"] = Measure("network", "count", micros=span)
    for column in ("latency", "rate_limit_hits", "records_failed", "flip"):
        found[f"{column}_24h"] = Measure(column, "sum", micros=DAY)
    found["latency_n_24h"] = Measure("latency", "count", micros=DAY)
    found["anew_24h"] = Measure("anew", "sum", micros=DAY)
    found["anew_minute_24h"] = Measure("anew_minute", "sum", micros=DAY)
    found["watched_24h"] = Measure("watched", "sum", micros=DAY)
    for column in ("log_latency", "log_latency_sq"):
        found[f"{column}_7d"] = Measure(column, "sum", micros=MEMORY_DAYS * DAY)
    found["log_latency_n_7d"] = Measure("log_latency", "count", micros=MEMORY_DAYS * DAY)
    for n in RECENT_ATTEMPTS:
        found[f"failures_last_{n}"] = Measure("failed", "sum", n)
        found[f"flips_last_{n}"] = Measure("flip", "sum", n)
    for name in ERRORS:
        found[f"errors_{name}_24h"] = Measure(f"is_{name}", "sum", micros=DAY)
        found[f"errors_{name}_last_30"] = Measure(f"is_{name}", "sum", 30)
    return found


MEASURES = _measures()
