"""The parameters of retries, each cited or an assumption with its range; frozen before any model was trained."""

from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Floats
from crewflow_assets.twin.notes import assumed

EDGES: tuple[float, ...] = (0, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds: the grid of delays whose buckets logged propensities speak of."""

BRIEF_QUANTILES: tuple[tuple[float, float], ...] = (
    (0.1, 0.0),
    (3, 0.22),
    (150, 0.36),
    (600, 0.66),
    (3600, 0.93),
    (14400, 1.0),
)
"""Seconds, and the share of brief troubles that are over by then. Measured on public endpoints for another call to
the same host after a 5xx: it succeeded within 5 s in .22, after 1 to 5 minutes in .36, after 5 to 15 in .66 of the
cases. These mix brief troubles and outages, so they are slow for brief ones. The last two points are assumptions."""


@dataclass(frozen=True, slots=True)
class RetryParameters:
    """What retries in the simulated world are made of, beyond ``SyncParameters``. Shares are in [0, 1]."""

    brief_trouble_scale: float = assumed(1, 0.5, 2, "factor on the lengths of brief troubles, see BRIEF_QUANTILES")
    committed_share: float = assumed(0.3, 0.1, 0.5, "writes without an answer in time that took effect all the same")
    committed_on_break: float = assumed(0.1, 0.03, 0.2, "the same where the connection broke or a gateway answered")
    quickbooks_key_share: float = assumed(0.9, 0.7, 1, "writes sent with a requestid, which QuickBooks advises")
    xero_key_share: float = assumed(0.8, 0.5, 1, "writes sent with an Idempotency-Key, which Xero documents")


DEFAULTS = RetryParameters()


def brief_seconds(quantile: Floats, scale: Floats | float) -> Floats:
    """Return the lengths of brief troubles in seconds at quantiles in [0, 1)."""
    seconds, shares = np.array(BRIEF_QUANTILES).T
    lengths: Floats = scale * np.exp(np.interp(quantile, shares, np.log(seconds)))
    return lengths


def brief_survival(age: Floats, scale: Floats | float) -> Floats:
    """Return the share of brief troubles that last longer than ``age`` seconds; the inverse of ``brief_seconds``."""
    seconds, shares = np.array(BRIEF_QUANTILES).T
    over: Floats = 1 - np.interp(np.log(np.maximum(age / scale, seconds[0])), np.log(seconds), shares)
    return over
