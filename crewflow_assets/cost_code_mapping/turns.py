"""Whose turn it is where few things are done at a time and those who wait are told to ask again."""

from collections import OrderedDict
from collections.abc import Hashable
from math import inf
from time import monotonic

WAITED_SECONDS = 30.0
"""So long a turn is kept for who does not ask again; answers say ``Retry-After: 2``."""
MOST_WAITING = 1000


class Turns:
    """Turns in the order in which they were first asked for, ``most`` at a time; not safe between threads.

    A turn lasts until it is given back, so that what was made in it is there when its owner asks again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[Hashable, float] = {}
        """Those whose turn it is, and until when."""
        self._waiting: OrderedDict[Hashable, float] = OrderedDict()
        """The others, who has waited longest first, and until when."""

    def __contains__(self, who: Hashable) -> bool:
        """Whether it is their turn."""
        return self._taken.get(who, 0.0) > monotonic()

    def take(self, who: Hashable) -> bool:
        """Say whether it is now their turn, which it is until ``done``; otherwise their place is kept for a while."""
        now = monotonic()
        self._taken = {one: until for one, until in self._taken.items() if until > now}
        for one in [one for one, until in self._waiting.items() if until <= now]:
            del self._waiting[one]
        if who in self._waiting or len(self._waiting) < MOST_WAITING:
            self._waiting[who] = now + WAITED_SECONDS
        free = self._most - len(self._taken)
        if who not in list(self._waiting)[: max(0, free)]:
            return False
        del self._waiting[who]
        self._taken[who] = inf
        return True

    def done(self, who: Hashable) -> None:
        """Let a turn end by itself, if nobody gives it back."""
        self._taken[who] = monotonic() + WAITED_SECONDS

    def give_back(self, who: Hashable) -> None:
        """End a turn, if there is one."""
        self._taken.pop(who, None)
