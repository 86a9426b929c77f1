"""A backtest of invented sums: two draws, in which all that is learned halves what fails."""

import numpy as np

from crewflow_assets.backtest.conflicts import BEST, LEARNED, MANUAL, ConflictSums
from crewflow_assets.backtest.conflicts import Size as ConflictSize
from crewflow_assets.backtest.fates import CAUSES
from crewflow_assets.backtest.found import AFTER, Backtest
from crewflow_assets.backtest.syncs import (
    BEST_PREVENTION,
    BEST_RETRIES,
    PREVENTIONS,
    RETRIES,
    Cell,
    SyncSums,
)
from crewflow_assets.backtest.syncs import Size as SyncSize
from crewflow_assets.twin.sync.attempts import Cause


def sums(failed: float) -> SyncSums:
    """Return the sums of a cell in which so many of 1,000 syncs failed in either draw, all for the same cause."""

    def two(value: float) -> np.ndarray:
        return np.full(2, value)

    return SyncSums(
        due=two(1000),
        failed=two(failed),
        waited=two(60 * failed),
        late=two(failed / 2),
        stale=two(failed / 10),
        calls=two(20_000),
        failures=two(2 * failed),
        mended=two(failed),
        mended_in_a_day=two(1.8 * failed),
        retried=two(2 * failed),
        retries=two(3 * failed),
        left=two(0.2 * failed),
        duplicates=two(0),
        asks=two(0),
        alerts=two(0),
        failed_by={cause: two(failed if cause == Cause.API_DOWN else 0) for cause in (*CAUSES, Cause.NONE)},
    )


def conflicts(automatic: float) -> ConflictSums:
    """Return the sums of 100 conflicts in either draw, of which so many are automatic, nine tenths of them right."""
    return ConflictSums(*(np.full(2, value) for value in (100.0, automatic, 0.9 * automatic, 90.0, 0.95 * automatic)))


def backtest() -> Backtest:
    """Return the whole run."""
    cells: list[Cell] = [(prevention, retries) for prevention in PREVENTIONS for retries in RETRIES]
    found = {cell: sums(10 if cell == AFTER else 20) for cell in cells}
    return Backtest(
        SyncSize(2, 5, days=7),
        ConflictSize(2, 3),
        found | {(BEST_PREVENTION, BEST_RETRIES): sums(2)},
        {MANUAL: conflicts(0), LEARNED: conflicts(60), BEST: conflicts(80)},
        {"sync_health": "champion 1.0"},
    )
