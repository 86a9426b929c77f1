"""Policies that know no hidden state and learn nothing, and the one that explores and writes the history.

Those with luck of their own draw it by (seed, integration, call, retry), so that worlds repeat.
"""

import numpy as np

from crewflow_assets.arrays import AnyFloats, Bools, Floats, Ints
from crewflow_assets.twin.retries.bodies import AUTH, BODIES, REFUSED, TIMEOUT
from crewflow_assets.twin.retries.chance import mixed, uniform
from crewflow_assets.twin.retries.parameters import EDGES
from crewflow_assets.twin.retries.policy import Decisions, Failures
from crewflow_assets.twin.retries.world import RetryWorld

JITTER, SPREAD = 101, 102
SHORTEST = 1.0
_ERROR = np.array([body.error for body in BODIES])


class Never:
    """Gives every call up."""

    def decide(self, failures: Failures) -> Decisions:
        """See ``RetryPolicy``."""
        return Decisions.plain(np.full(len(failures), np.nan))

    def heard(self, who: Ints, minute: Floats, ok: Bools) -> None:
        """See ``RetryPolicy``."""


class Fixed(Never):
    """The same for every error: some retries, each twice as long after the failure as the one before."""

    def __init__(self, base_seconds: float, retries: int = 3) -> None:
        self._base, self._retries = base_seconds, retries

    def decide(self, failures: Failures) -> Decisions:
        """See ``RetryPolicy``."""
        delay = self._base * 2.0**failures.attempts
        return Decisions.plain(np.where(failures.attempts < self._retries, delay, np.nan))


class Aws(Never):
    """The standard retry mode of the AWS SDKs, as botocore has it, with a base that can be set.

    Only errors that may pass are retried: no answer, 5xx, throttling. The delay is drawn from nothing to
    min(base × 2^retries, longest) ("full jitter"); a Retry-After is kept, which botocore's earlier versions do not.
    A retry takes 5 of a client's 500 tokens, 10 after a timeout; 5 come back when it succeeds, and a first attempt
    that succeeds gives one. Each integration is a client of its own. The adaptive mode's limit on the
    rate of calls does not bind where a client calls every few minutes, so that there both are the same.

    Args:
        world: Whose calls are retried.
        base_seconds: 1 in botocore.
        retries: 2 in botocore, which counts three attempts.
        longest_seconds: 20 in botocore; None: no longest.
    """

    CAPACITY, COST, TIMEOUT_COST = 500.0, 5.0, 10.0

    def __init__(
        self, world: RetryWorld, base_seconds: float = 1.0, retries: int = 2, longest_seconds: float | None = 20.0
    ) -> None:
        self._world, self._base, self._retries = world, base_seconds, retries
        self._longest = np.inf if longest_seconds is None else longest_seconds
        size = len(world.fleet)
        self._tokens = np.full(size, self.CAPACITY)
        self._asked = np.zeros(size)

    def decide(self, failures: Failures) -> Decisions:
        """See ``RetryPolicy``."""
        who, error = failures.who, _ERROR[failures.body]
        failed, seen = self._world.surroundings.own(who, failures.minute, self._world.minutes)
        succeeded = (seen - failed).astype(np.float64)
        tokens = np.minimum(self._tokens[who] + succeeded - self._asked[who], self.CAPACITY)
        self._asked[who] = succeeded
        cost = np.where(error == TIMEOUT, self.TIMEOUT_COST, self.COST)
        may_pass = (error != AUTH) & (error != REFUSED)
        retried = may_pass & (failures.attempts < self._retries) & (tokens >= cost)
        self._tokens[who] = tokens - np.where(retried, cost, 0)
        most = np.minimum(self._base * 2.0**failures.attempts, self._longest)
        delay = most * uniform(mixed(self._world.calls.key[failures.call], failures.attempts), JITTER)
        delay = np.fmax(delay, failures.retry_after_seconds)
        return Decisions.plain(np.where(retried, delay, np.nan))

    def heard(self, who: Ints, minute: Floats, ok: Bools) -> None:  # noqa: ARG002
        """See ``RetryPolicy``."""
        self._tokens[who[ok]] = np.minimum(self._tokens[who[ok]] + self.COST, self.CAPACITY)


EXPLORED_HOURS = 24.0 * 6
"""The horizon to play an explorer with: beyond its five retries of a day each, so that no delay is left out."""


class Explorer(Never):
    """Fixed backoff most of the time and any delay now and then, whatever the error: what a history is learnt from.

    The bucket of the delay is drawn: with ``share`` one of those that Retry-After leaves, each as likely, otherwise
    that of base × 2^retries, or the first that Retry-After leaves. Within its bucket a delay is even by ratio. The
    logged propensity is that of the bucket.
    """

    def __init__(
        self,
        world: RetryWorld,
        base_seconds: float = 30.0,
        retries: int = 5,
        share: float = 0.3,
    ) -> None:
        self._world, self._base, self._retries, self._share = world, base_seconds, retries, share
        self._edges = np.array(EDGES)

    def decide(self, failures: Failures) -> Decisions:
        """See ``RetryPolicy``."""
        buckets = len(EDGES) - 1
        told = np.clip(np.nan_to_num(failures.retry_after_seconds), 0, EDGES[-1] * 0.999)
        earliest = self._bucket(told)
        usual = np.maximum(self._bucket(self._base * 2.0**failures.attempts), earliest)
        key = mixed(self._world.calls.key[failures.call], failures.attempts)
        mark, left = uniform(key, JITTER), buckets - earliest
        any_of = earliest + np.floor(left * mark / self._share).astype(np.int64)
        bucket = np.where(mark < self._share, np.minimum(any_of, buckets - 1), usual)
        propensity = self._share / left + np.where(bucket == usual, 1 - self._share, 0)
        low = np.maximum(np.maximum(self._edges[bucket], SHORTEST), told)
        delay = low * (self._edges[bucket + 1] / low) ** uniform(key, SPREAD)
        goes_on = failures.attempts < self._retries
        return Decisions(
            np.where(goes_on, delay, np.nan),
            np.zeros(len(failures), dtype=bool),
            np.where(goes_on, propensity, np.nan),
        )

    def _bucket(self, seconds: AnyFloats) -> Ints:
        place = np.searchsorted(self._edges, seconds, side="right") - 1
        return np.clip(place, 0, len(EDGES) - 2).astype(np.int64)
