"""How a policy enters the world of syncs: what it sees, and what it may command."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.sync.attempts import Attempts
from crewflow_assets.twin.sync.status_pages import Status


@dataclass(slots=True)
class Commands:
    """What a policy tells the integrations, one element each; ticks are counted from the world's beginning.

    Attributes:
        slow_minutes: The interval until ``slow_until``, where it is longer than the usual one; 0: no command.
        slow_until: The tick at which the usual interval is back.
        pause_until: The tick at which syncs resume by themselves; 0: no command.
        resume: Take back what slows or pauses.
        reauthorise: Ask for a new grant.
        review_records: Ask to look at the refused records.
    """

    slow_minutes: Floats
    slow_until: Ints
    pause_until: Ints
    resume: Bools
    reauthorise: Bools
    review_records: Bools

    @classmethod
    def none(cls, integrations: int) -> "Commands":
        """Return commands that change nothing."""
        return cls(
            np.zeros(integrations),
            np.zeros(integrations, dtype=np.int64),
            np.zeros(integrations, dtype=np.int64),
            *(np.zeros(integrations, dtype=bool) for _ in range(3)),
        )


@dataclass(frozen=True, slots=True)
class View:
    """What the platform sees as a tick begins.

    Attributes:
        tick: That begins.
        moment: Its beginning, aware.
        attempts: Of the tick before; their ``cause`` and ``ceiling`` are hidden from any honest policy.
        statuses: What status pages said in the tick before: server, status.
        next_tick: When each integration is to sync next.
        paused_until: Until when each is paused; in the past if it is not.
    """

    tick: int
    moment: datetime
    attempts: Attempts | None
    statuses: Sequence[tuple[int, Status]]
    next_tick: Ints
    paused_until: Ints


class Policy(Protocol):
    """Decides at the beginning of each tick."""

    def decide(self, view: View) -> Commands | None:
        """Return what is to be done; None changes nothing."""
