"""Intervals: bootstrap over clusters, because rows of one company, integration or record are not independent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import AnyFloats, Ints, Objects

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the bounds of its 95 % interval; NaN bounds when there is but one cluster."""

    value: float
    low: float
    high: float


def or_none(value: float) -> float | None:
    """Return a number, or None for what is none: figures hold no NaN."""
    return None if np.isnan(value) else float(value)


def cluster_mean(
    scores: AnyFloats,
    clusters: Objects,
    *,
    weights: AnyFloats | None = None,
    seed: int = 0,
) -> Interval:
    """Return the mean over rows with the percentile interval of the cluster bootstrap.

    Clusters are drawn with replacement and all their rows with them (Davison & Hinkley 1997, 3.8). Paired
    differences go in as row differences; weights, above 0, make the mean a weighted one.

    Raises:
        ValueError: no rows.
    """
    if len(scores) == 0:
        raise ValueError("no rows to average")
    _, index = np.unique(clusters.astype(str), return_inverse=True)
    weights = np.ones(len(scores)) if weights is None else weights
    sums = np.bincount(index, weights=scores * weights)
    counts = np.bincount(index, weights=weights)
    value = float(np.average(scores, weights=weights))
    if len(sums) < 2:
        return Interval(value, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(0, len(sums), size=(DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def cluster_bootstrap(
    statistic: Callable[[Ints], float],
    clusters: Objects,
    *,
    draws: int = 200,
    seed: int = 0,
) -> Interval:
    """Return any statistic of rows, given by their places, with its percentile interval by clusters.

    Draws for which the statistic is NaN are left out. For means, ``cluster_mean`` is exact and quicker.

    Raises:
        ValueError: no rows.
    """
    if len(clusters) == 0:
        raise ValueError("no rows to draw from")
    _, index = np.unique(clusters.astype(str), return_inverse=True)
    order = np.argsort(index, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(index))[:-1])
    value = statistic(np.arange(len(clusters)))
    if len(rows) < 2:
        return Interval(value, float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    found = [
        statistic(np.concatenate([rows[i] for i in random.integers(0, len(rows), size=len(rows))]))
        for _ in range(draws)
    ]
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
