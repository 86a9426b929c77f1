"""Whether a confidence means what it says, and how many decisions it can carry."""

from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import AnyFloats, Ints, Objects
from crewflow_assets.evaluation.intervals import cluster_mean

TARGET_RIGHT = 0.95
LOWEST_BOUND = 0.93
FEWEST_DECISIONS = 30


def expected_calibration_error(
    confidence: AnyFloats, right: AnyFloats, *, counts: AnyFloats | None = None, bins: int = 10
) -> float:
    """Return the mean distance between confidence and share right, equally filled bins (Nguyen & O'Connor 2015).

    ``counts`` are whole numbers: how many rows each one stands for.
    """
    said, was, count = reliability(confidence, right, counts=counts, bins=bins)
    return float(np.average(np.abs(said - was), weights=count))


def reliability(
    confidence: AnyFloats, right: AnyFloats, *, counts: AnyFloats | None = None, bins: int = 10
) -> tuple[AnyFloats, AnyFloats, Ints]:
    """Return mean confidence, share right and count of each equally filled bin.

    Rows of equal confidence share what was right, as their order means nothing, also where a bin ends among them.
    """
    each = np.ones(len(confidence)) if counts is None else counts
    values, place = np.unique(confidence, return_inverse=True)
    rows = np.bincount(place, weights=each)
    ends = np.r_[0, np.cumsum(rows)]
    total = round(float(ends[-1]))
    sizes = total // bins + (np.arange(bins) < total % bins)
    sizes = sizes[sizes > 0]
    borders = np.r_[0, np.cumsum(sizes)]
    said, was = (
        np.diff(np.interp(borders, ends, np.r_[0, np.cumsum(sums)])) / sizes
        for sums in (rows * values, np.bincount(place, weights=right * each))
    )
    return said, was, sizes


def precision_by_coverage(confidence: AnyFloats, right: AnyFloats) -> tuple[AnyFloats, AnyFloats]:
    """Return coverage and precision when the most confident rows are automatic, from the first row to all."""
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    return count / len(order), np.cumsum(right[order]) / count


@dataclass(frozen=True, slots=True)
class Threshold:
    """The confidence from which decisions are automatic, or None when no threshold keeps the promise."""

    value: float | None
    coverage: float
    right: float
    low: float


def automatic_threshold(
    confidence: AnyFloats, right: AnyFloats, clusters: Objects, *, lowest_bound: float = LOWEST_BOUND
) -> Threshold:
    """Return the lowest threshold whose decisions are at least 95 % right with a lower 95 % bound that high.

    The bound is clustered. Candidates are the confidences themselves, thinned to 200.
    """
    order = np.argsort(-confidence, kind="stable")
    steps = np.unique(np.linspace(min(FEWEST_DECISIONS, len(order)), len(order), 200).astype(int))
    best = Threshold(None, 0.0, float("nan"), float("nan"))
    for count in steps:
        if count < FEWEST_DECISIONS:
            continue
        limit = confidence[order[count - 1]]
        chosen = confidence >= limit
        if right[chosen].mean() < TARGET_RIGHT:
            continue
        interval = cluster_mean(right[chosen], clusters[chosen])
        if interval.low >= lowest_bound:
            best = Threshold(float(limit), float(chosen.mean()), interval.value, interval.low)
    return best
