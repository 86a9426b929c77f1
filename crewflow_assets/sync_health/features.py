"""From what went before a moment to the feature row of the model: one pure function for training and serving."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.arrays import Floats, Singles
from crewflow_assets.sync_health.contract import Cause, SyncFeatures
from crewflow_assets.sync_health.events import STATUSES
from crewflow_assets.sync_health.measures import (
    ERRORS,
    HOUR,
    MEMORY_ATTEMPTS,
    MINUTE,
    NEIGHBOUR_MINUTES,
    RECENT_ATTEMPTS,
)

if TYPE_CHECKING:
    import pyarrow as pa

Described = Mapping[str, Floats]
"""The columns of ``events.described`` as numbers, NaN where there is nothing, and ``micros``, the moment."""

GIVEN = (
    *("attempts_24h", "failures_24h", "failure_share_24h", "avg_latency_24h", "rate_limit_hits_24h"),
    *("network_latency_24h", "day_of_week", "hour_of_day", "api_status"),
)
"""The PRD's eight features, and the share of failures: what a request can carry."""
PRD = tuple(name for name in GIVEN if name != "failure_share_24h")

_HISTORY = (
    *("failures_in_a_row", "successes_in_a_row", "hours_since_ok", "hours_since_failure", "hours_since_change"),
    *(
        "hours_since_attempt",
        "lead_minutes",
        "interval_minutes",
        "lateness",
        "known_attempts",
        "attempts_7d",
        "failure_share_7d",
    ),
    *("flips_24h", *(f"failure_share_last_{n}" for n in RECENT_ATTEMPTS)),
    *(f"flips_last_{n}" for n in RECENT_ATTEMPTS),
)
_LATENCY = ("last_latency", "usual_latency", "latency_ratio", "latency_deviation", "latency_24h_ratio", "peak_ratio")
_NETWORK = ("last_network", "network_ratio")
_LIMIT = (
    *("headroom", "headroom_trend", "hours_to_limit", "calls_1h", "calls_share_1h", "rate_limit_hits_1h"),
    *("last_rate_limit_hits", "retry_after"),
)
_ERRORS = tuple(
    f"{part}_{name}{window}"
    for name in ERRORS
    for part, window in (("last", ""), ("errors", "_24h"), ("errors", "_last_30"))
)
_OTHERS = tuple(
    f"{part}_{n}m"
    for n in NEIGHBOUR_MINUTES
    for part in ("others_n", "others_failed", "others_failed_share", "others_new", "others_limited")
)
_FLEET = tuple(f"{part}_{n}m" for n in NEIGHBOUR_MINUTES for part in ("fleet_failed_share", "fleet_new_share"))
FEATURES: tuple[str, ...] = (
    *GIVEN,
    *_HISTORY,
    *_LATENCY,
    *_NETWORK,
    *_LIMIT,
    *_ERRORS,
    "last_status_code",
    "last_records_failed",
    "records_failed_24h",
    *_OTHERS,
    *_FLEET,
)
COLUMN = {name: place for place, name in enumerate(FEATURES)}

ERROR_CAUSE: dict[str, Cause] = {
    "rate_limit": "rate_limit",
    "auth": "auth",
    "server": "api_down",
    "timeout": "api_down",
    "connection": "network",
    "refused": "data_quality",
}


def cause_of(feature: str) -> Cause | None:
    """Return the cause that a feature speaks of; None where it speaks of failures of any cause."""
    for name in ERRORS:
        if feature in (f"last_{name}", f"errors_{name}_24h", f"errors_{name}_last_30"):
            return ERROR_CAUSE[name]
    if feature in _LIMIT or feature == "rate_limit_hits_24h" or feature.startswith("others_limited"):
        return "rate_limit"
    if feature in _LATENCY or feature == "avg_latency_24h":
        return "latency"
    if feature in _NETWORK or feature in _FLEET or feature == "network_latency_24h":
        return "network"
    if feature in _OTHERS or feature == "api_status":
        return "api_down"
    if "records_failed" in feature:
        return "data_quality"
    return None


def columns_of(table: "pa.Table") -> dict[str, Floats]:
    """Return the numeric columns of what ``events.describe`` found, and the moment in ``micros``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, Floats] = {}
    for name in table.column_names:
        column = table[name]
        if name == "occurred_at":
            found["micros"] = column.cast(pa.int64()).to_numpy().astype(np.float64)
        elif not (pa.types.is_string(column.type) or pa.types.is_temporal(column.type)):  # DuckDB sums to decimals
            found[name] = pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
    return found


def feature_rows(d: Described) -> Singles:
    """Return the feature matrix, shape (rows, len(FEATURES)), NaN where something is not known.

    Args:
        d: Columns of equal length.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _given(d) | _history(d) | _speed(d) | _limits(d) | _failures(d) | _neighbours(d)
    return np.column_stack([found[name] for name in FEATURES]).astype(np.float32)


def given_rows(features: Sequence[SyncFeatures]) -> Singles:
    """Return the feature matrix of what requests carry; all that the PRD's features do not say is NaN."""
    nan = float("nan")
    micros = np.array([f.timestamp.timestamp() * 1e6 for f in features])
    attempts = np.array([f.sync_attempts_24h for f in features], float)
    failures = np.array([f.sync_failures_24h for f in features], float)
    found = {
        "attempts_24h": attempts,
        "failures_24h": failures,
        "failure_share_24h": np.divide(failures, attempts, out=np.full(len(features), nan), where=attempts > 0),
        "avg_latency_24h": np.array([nan if f.avg_latency_24h is None else f.avg_latency_24h for f in features]),
        "rate_limit_hits_24h": np.array([f.rate_limit_hits_24h for f in features], float),
        "network_latency_24h": np.array([nan if f.network_latency is None else f.network_latency for f in features]),
        "api_status": np.array([nan if f.api_status is None else STATUSES.index(f.api_status) for f in features]),
        **_calendar(micros),
    }
    nothing = np.full(len(features), nan)
    return np.column_stack([found.get(name, nothing) for name in FEATURES]).astype(np.float32)


def _calendar(micros: Floats) -> dict[str, Floats]:
    hours = np.floor(micros / HOUR)
    return {"hour_of_day": hours % 24, "day_of_week": (np.floor(hours / 24) + 3) % 7}  # 1970 began on a Thursday


def _given(d: Described) -> dict[str, Floats]:
    return {
        "attempts_24h": d["attempts_24h"],
        "failures_24h": d["failures_24h"],
        "failure_share_24h": d["failures_24h"] / d["attempts_24h"],
        "avg_latency_24h": d["latency_24h"] / d["latency_n_24h"] / 1000,
        "rate_limit_hits_24h": d["rate_limit_hits_24h"],
        "network_latency_24h": d["network_24h"] / d["network_n_24h"] / 1000,
        "api_status": d["api_status"],
        **_calendar(d["micros"]),
    }


def _history(d: Described) -> dict[str, Floats]:
    place, micros = d["place"], d["micros"]
    known = np.minimum(place, MEMORY_ATTEMPTS)

    def in_a_row(last_other: Floats) -> Floats:
        return np.where(np.isnan(last_other), known, place - 1 - last_other)

    failing, fine = in_a_row(d["ok_place"]), in_a_row(d["failed_place"])
    since = (micros - d["last_micros"]) / HOUR
    found = {
        "failures_in_a_row": failing,
        "successes_in_a_row": fine,
        "hours_since_ok": (micros - d["ok_micros"]) / HOUR,
        "hours_since_failure": (micros - d["failed_micros"]) / HOUR,
        "hours_since_change": (micros - d["flip_micros"]) / HOUR,
        "hours_since_attempt": since,
        "lead_minutes": d["lead"] / MINUTE,
        "interval_minutes": d["last_interval"],
        "lateness": since * 60 / d["last_interval"],
        "known_attempts": known,
        "attempts_7d": d["attempts_7d"],
        "failure_share_7d": d["failures_7d"] / d["attempts_7d"],
        "flips_24h": d["flip_24h"],
    }
    for n in RECENT_ATTEMPTS:
        found[f"failure_share_last_{n}"] = d[f"failures_last_{n}"] / np.minimum(place, n)
        found[f"flips_last_{n}"] = d[f"flips_last_{n}"]
    return found


def _speed(d: Described) -> dict[str, Floats]:
    """Latencies in milliseconds, and against the usual: the geometric mean over the successes of seven days."""
    n = d["log_latency_n_7d"]
    mean = d["log_latency_7d"] / n
    spread = np.sqrt(np.maximum(d["log_latency_sq_7d"] / n - mean**2, 0))
    last = d["last_latency"] / 1000
    usual = np.exp(mean / 1000) - 1
    network, usual_network = d["last_network"] / 1000, d["network_7d"] / d["network_n_7d"] / 1000
    average = d["latency_24h"] / d["latency_n_24h"] / 1000
    return {
        "last_latency": last,
        "usual_latency": usual,
        "latency_ratio": (last + 1) / (usual + 1),
        "latency_deviation": (np.log(last + 1) * 1000 - mean) / (spread + 50),
        "latency_24h_ratio": (average + 1) / (usual + 1),
        "peak_ratio": np.exp((d["longest_latency"] - mean) / 1000),
        "last_network": network,
        "network_ratio": (network + 1) / (usual_network + 1),
    }


def _limits(d: Described) -> dict[str, Floats]:
    """How much of the calls is left, between 0 and 1, its change an hour, and the hours until nothing is."""
    limit = np.where(d["last_calls_limit"] > 0, d["last_calls_limit"], np.nan)
    headroom = np.minimum(d["last_calls_left"] / limit, 1)  # an API may say more than its limit
    before = np.minimum(d["calls_left_4"] / limit, 1)
    trend = (headroom - before) / (np.maximum(d["last_micros"] - d["micros_4"], MINUTE) / HOUR)
    return {
        "headroom": headroom,
        "headroom_trend": trend,
        "hours_to_limit": np.where(trend < 0, np.minimum(headroom / -trend, 1000), np.nan),
        "calls_1h": d["calls_1h"],
        "calls_share_1h": d["calls_1h"] / limit,
        "rate_limit_hits_1h": d["rate_limit_hits_1h"],
        "last_rate_limit_hits": d["last_rate_limit_hits"],
        "retry_after": d["last_retry_after"],
    }


def _failures(d: Described) -> dict[str, Floats]:
    found = {
        "last_status_code": d["last_status_code"],
        "last_records_failed": d["last_records_failed"],
        "records_failed_24h": d["records_failed_24h"],
    }
    for place, name in enumerate(ERRORS):
        found[f"last_{name}"] = np.where(np.isnan(d["last_error"]), np.nan, d["last_error"] == place + 1)
        found[f"errors_{name}_24h"] = d[f"errors_{name}_24h"]
        found[f"errors_{name}_last_30"] = d[f"errors_{name}_last_30"]
    return found


def _neighbours(d: Described) -> dict[str, Floats]:
    """Shares among the others on the same API, and among all."""
    found = {}
    for n in NEIGHBOUR_MINUTES:
        others = np.maximum(d[f"api_n_{n}m"] - d[f"own_n_{n}m"], 0)
        failed = np.clip(d[f"api_failed_{n}m"] - d[f"own_failed_{n}m"], 0, others)
        found[f"others_n_{n}m"] = others
        found[f"others_failed_{n}m"] = failed
        found[f"others_failed_share_{n}m"] = failed / others
        found[f"others_new_{n}m"] = d[f"api_onset_{n}m"]
        found[f"others_limited_{n}m"] = np.maximum(d[f"api_limited_{n}m"] - d[f"own_limited_{n}m"], 0)
        found[f"fleet_failed_share_{n}m"] = d[f"fleet_failed_{n}m"] / d[f"fleet_n_{n}m"]
        found[f"fleet_new_share_{n}m"] = d[f"fleet_onset_{n}m"] / d[f"fleet_n_{n}m"]
    return found
