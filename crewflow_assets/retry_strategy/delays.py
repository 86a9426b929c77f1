"""The grid of delays: what a plan chooses from, what a propensity speaks of, and how a delay is spread within it."""

from bisect import bisect_right

import numpy as np

from crewflow_assets.arrays import Floats, Ints

EDGES: tuple[float, ...] = (0, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds. Bucket i holds delays from ``EDGES[i]`` before ``EDGES[i + 1]``; a longer one is in the last."""
BUCKETS = len(EDGES) - 1
SHORTEST = 1.0
"""Seconds; nothing is retried sooner."""
LONGEST = EDGES[-1]
DELAYS: Floats = np.sqrt(np.maximum(EDGES[:-1], SHORTEST) * np.asarray(EDGES[1:]))
"""The middle of each bucket by ratio, seconds, shape (BUCKETS,)."""


RELEASE_SPREAD = 60.0
"""Seconds over which the calls are spread that one mending releases."""


def release_delay(uniform: Floats | float) -> Floats:
    """Return the seconds from the moment that a mending is seen to the resending, from numbers in [0, 1)."""
    return np.asarray(SHORTEST + (RELEASE_SPREAD - SHORTEST) * uniform, np.float64)


def bucket_of(seconds: Floats | float) -> Ints:
    """Return the bucket of delays in seconds, 0 to BUCKETS − 1, in the shape given."""
    return np.clip(np.searchsorted(EDGES, seconds, side="right") - 1, 0, BUCKETS - 1)


def earliest_bucket(seconds: float) -> int:
    """Return the first bucket in which something lies that is not before a delay; BUCKETS where none does."""
    return BUCKETS if seconds >= LONGEST else min(max(bisect_right(EDGES, seconds) - 1, 0), BUCKETS - 1)


def spread(bucket: int, uniform: float, *, not_before: float = 0.0) -> float:
    """Return a delay within a bucket, seconds, evenly by ratio, so that calls that failed together part.

    AWS calls a delay drawn from nothing to the backoff "full jitter" (M. Brooker, Exponential Backoff And Jitter,
    AWS Architecture Blog, 2015); here it is drawn from the bucket, whose ends are a factor of 1.5 to 5 apart, as
    a call that comes much earlier than planned would come before the trouble is over.

    Args:
        bucket: 0 to BUCKETS − 1.
        uniform: In [0, 1).
        not_before: Where the bucket's beginning lies before it, the delay is drawn from here on.

    Raises:
        ValueError: ``not_before`` lies behind the bucket.
    """
    low, high = max(EDGES[bucket], SHORTEST, not_before), EDGES[bucket + 1]
    if low >= high:
        raise ValueError(f"{not_before} s lies behind bucket {bucket}, which ends at {high} s; choose a later one")
    return min(float(low * (high / low) ** uniform), float(np.nextafter(high, 0)))
