"""Made-up retries whose truth is known: each call's trouble ends after a time drawn by its class."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from crewflow_assets.retry_strategy.delays import BUCKETS, spread
from crewflow_assets.retry_strategy.table import ATTEMPT_COLUMNS, RETRY_COLUMNS, as_table

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
KINDS = (
    # error class, status, message, median seconds to recovery (None: never), share
    ("rate_limit", 429, "Too Many Requests", 40.0, 0.3),
    ("server_error", 503, "Service Unavailable", 1200.0, 0.4),
    ("network", None, "read ECONNRESET", 15.0, 0.15),
    ("validation", 400, "A validation exception occurred", None, 0.15),
)
SPREAD = 1.0
"""Standard deviation of the logarithm of the time to recovery."""


def retries(calls: int = 900, *, seed: int = 0, days: int = 90, most: int = 4) -> pd.DataFrame:
    """Return retry outcomes as the lake has them: delays drawn evenly from all buckets, up to four retries a call."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(calls):
        name, status, message, median, _ = KINDS[random.choice(len(KINDS), p=[kind[-1] for kind in KINDS])]
        began = BEGIN + timedelta(days=float(random.uniform(0, days)))
        ends = np.inf if median is None else median * np.exp(SPREAD * random.standard_normal())
        integration, passed = int(random.integers(24)), 0.0
        for attempt in range(1, most + 1):
            delay = spread(int(random.integers(BUCKETS)), float(random.random()))
            passed += delay
            ok = bool(passed > ends)
            rows.append(
                {
                    "event_id": f"r-{number}-{attempt}",
                    "company_id": f"c-{integration % 12}",
                    "occurred_at": began + timedelta(seconds=passed),
                    "integration_id": f"i-{integration}",
                    "system": ("quickbooks", "xero", "sage")[integration % 3],
                    "call_id": f"call-{number}",
                    "error_class": name,
                    "error_message": message,
                    "status_code": status,
                    "write": False,
                    "idempotent": True,
                    "latency_ms": 900.0,
                    "attempt": attempt,
                    "delay_seconds": delay,
                    "ok": ok,
                    "propensity": 1 / BUCKETS,
                }
            )
            if ok:
                break
    return pd.DataFrame(rows).reindex(columns=list(RETRY_COLUMNS))


def attempts(*rows: dict[str, object]) -> pd.DataFrame:
    """Return sync attempts of the given fields."""
    usual = {"company_id": "c-1", "integration_id": "i-1", "system": "quickbooks", "ok": True, "latency_ms": 800.0}
    return pd.DataFrame([usual | row for row in rows]).reindex(columns=list(ATTEMPT_COLUMNS))


def no_attempts() -> pd.DataFrame:
    """Return no sync attempts at all."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in ATTEMPT_COLUMNS})


def table(calls: int = 900, *, seed: int = 0) -> pd.DataFrame:
    """Return the feature table of made-up retries."""
    return as_table(retries(calls, seed=seed), no_attempts())


def true_probability(name: str, seconds: float) -> float:
    """Return the chance that trouble of a class is over so many seconds after it began."""
    from scipy.stats import norm

    median = next(kind[3] for kind in KINDS if kind[0] == name)
    return 0.0 if median is None else float(norm.cdf(np.log(seconds / median) / SPREAD))
