"""What a backtest found, and the figures that its tables share."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crewflow_assets.backtest.conflicts import ConflictSums
from crewflow_assets.backtest.conflicts import Size as ConflictSize
from crewflow_assets.backtest.fates import ratio
from crewflow_assets.backtest.syncs import (
    ACTIONS,
    BEST_PREVENTION,
    BEST_RETRIES,
    FIXED,
    LEARNED,
    NO_PREVENTION,
    Cell,
    SyncSums,
)
from crewflow_assets.backtest.syncs import Size as SyncSize
from crewflow_assets.evaluation.intervals import Interval

BEFORE: Cell = (NO_PREVENTION, FIXED)
AFTER: Cell = (ACTIONS, LEARNED)
CEILING: Cell = (BEST_PREVENTION, BEST_RETRIES)


@dataclass(frozen=True, slots=True)
class Backtest:
    """All that one run found."""

    sync_size: SyncSize
    conflict_size: ConflictSize
    syncs: Mapping[Cell, SyncSums]
    conflicts: Mapping[str, ConflictSums]
    versions: Mapping[str, str]


def fewer_failures(sums: SyncSums, before: SyncSums) -> Interval:
    """Return by how much fewer syncs failed, as a share of those that failed before."""
    return ratio(before.failed - sums.failed, before.failed)


def success_rate(sums: SyncSums) -> Interval:
    """Return the share of the due syncs that succeeded, retries within an hour counted."""
    return ratio(sums.due - sums.failed, sums.due)


def text(interval: Interval, form: str) -> str:
    """Return a value with its interval; a dash where there is none."""
    if np.isnan(interval.value):
        return "–"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
