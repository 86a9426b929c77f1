"""Invented days of integrations: quiet ones, noisy ones, and ones that break and are mended."""

from datetime import date

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Floats
from crewflow_assets.integration_health.days import MEASURES, PLACE, Days
from crewflow_assets.integration_health.table import as_table

FIRST = date(2026, 1, 5)
SYNCS = 24.0


def day(**measures: float) -> Floats:
    """Return one day of 24 syncs that took 500 ms; ``errors`` and the others are given."""
    values = np.zeros(len(MEASURES))
    errors = measures.get("errors", 0.0)
    found = {"total": SYNCS, "measured": SYNCS, "latency": 500 * SYNCS} | measures
    found["ok"] = found["total"] - errors
    for name, value in found.items():
        values[PLACE[name]] = value
    return values


def window(*last: Floats) -> Floats:
    """Return 30 days that end with some, quiet before them, shape (1, 30, measures)."""
    return np.stack([day()] * (30 - len(last)) + list(last))[None]


def days(integrations: int = 60, length: int = 90, seed: int = 0) -> Days:
    """Return integrations with single bad days, and spells of refused grants that go on: their class tells."""
    rng = np.random.default_rng(seed)
    values = np.empty((integrations, length, len(MEASURES)))
    for place in range(integrations):
        ended, rate, slow = False, rng.uniform(0, 0.5), rng.uniform(300, 900)
        for number in range(length):
            ended = rng.random() < (0.9 if ended else 0.02)
            bad = rng.random() < 0.1
            errors = min(float(rng.poisson(rate) + 8 * ended + 12 * bad), SYNCS)
            values[place, number] = day(
                errors=errors,
                auth=8.0 * ended,
                validation=12.0 * bad,
                latency=SYNCS * rng.normal(slow, 30),
                conflicts=float(rng.poisson(0.3)),
            )
    keys = [(f"c-{place}", f"i-{place}") for place in range(integrations)]
    return Days(keys, ["quickbooks"] * integrations, FIRST, values)


def table(integrations: int = 60, length: int = 90, seed: int = 0) -> pd.DataFrame:
    """Return the feature table of ``days``."""
    return as_table(days(integrations, length, seed))
