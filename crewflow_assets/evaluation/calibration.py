"""Whether a confidence means what it says, and how many decisions it can carry."""

from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import AnyFloats, Ints, Objects
from crewflow_assets.evaluation.intervals import cluster_mean

TARGET_RIGHT = 0.95
LOWEST_BOUND = 0.93
FEWEST_DECISIONS = 30


def expected_calibration_error(confidence: AnyFloats, right: AnyFloats, *, bins: int = 10) -> float:
    """Return the mean distance between confidence and share right, equally filled bins (Nguyen & O'Connor 2015)."""
    parts, right = _parts(confidence, right, bins)
    return float(sum(len(p) * abs(confidence[p].mean() - right[p].mean()) for p in parts) / len(confidence))


def _parts(confidence: AnyFloats, right: AnyFloats, bins: int) -> tuple[list[Ints], AnyFloats]:
    """Return the rows of each bin; rows of equal confidence share what was right, as their order means nothing."""
    order = np.argsort(confidence, kind="stable")
    _, tied = np.unique(confidence, return_inverse=True)
    shared = (np.bincount(tied, weights=right) / np.bincount(tied))[tied]
    return [part for part in np.array_split(order, bins) if len(part)], shared


def reliability(confidence: AnyFloats, right: AnyFloats, *, bins: int = 10) -> tuple[AnyFloats, AnyFloats, Ints]:
    """Return mean confidence, share right and count of each equally filled bin."""
    parts, right = _parts(confidence, right, bins)
    return (
        np.array([confidence[p].mean() for p in parts]),
        np.array([right[p].mean() for p in parts]),
        np.array([len(p) for p in parts]),
    )


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
