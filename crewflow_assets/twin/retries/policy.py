"""How a policy enters the world of retries: what it sees of a failure, and what it may decide."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Failures:
    """Calls that have just failed, one element each, at most one of an integration.

    Attributes:
        call: Which call of the world.
        who: Which integration of the fleet.
        minute: Now, since the world's beginning.
        body: What the API said: place in ``bodies.BODIES``.
        attempts: Retries made so far.
        first_minute: When the call failed first.
        retry_after_seconds: As told; NaN without.
        write: Whether it creates or changes a record.
        idempotent: Whether it may be repeated without harm: it reads, or it carries an idempotency key.
        latency_ms: Of the call that failed.
        hidden_cause: Of this failure; hidden from any honest policy.
        hidden_brief_seconds: For how long a brief trouble has lasted, NaN without one; hidden as well.
        hidden_rest: API calls that the rest of the work takes; hidden as well.
    """

    call: Ints
    who: Ints
    minute: Floats
    body: Ints
    attempts: Ints
    first_minute: Floats
    retry_after_seconds: Floats
    write: Bools
    idempotent: Bools
    latency_ms: Floats
    hidden_cause: Ints
    hidden_brief_seconds: Floats
    hidden_rest: Floats

    def __len__(self) -> int:
        return len(self.call)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is to be done about each failure.

    Attributes:
        delay_seconds: From now to the next retry; NaN gives the call up.
        look_up: Whether the retry first reads if the write has taken effect.
        propensity: With which probability the delay's bucket was drawn; NaN where it was not drawn.
    """

    delay_seconds: Floats
    look_up: Bools
    propensity: Floats

    @classmethod
    def plain(cls, delay_seconds: Floats) -> "Decisions":
        """Return decisions that look nothing up and draw nothing."""
        size = len(delay_seconds)
        return cls(delay_seconds, np.zeros(size, dtype=bool), np.full(size, np.nan))


class RetryPolicy(Protocol):
    """Decides about failures as they happen, in order of time for each integration."""

    def decide(self, failures: Failures) -> Decisions:
        """Return what is to be done about each."""

    def heard(self, who: Ints, minute: Floats, ok: Bools) -> None:
        """Take in how retries ended, at most one of an integration, before their failures are decided upon."""
