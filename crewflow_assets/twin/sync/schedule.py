"""When the integrations sync: every so many ticks, unless a command slows or pauses them."""

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.sync.fleet import Fleet
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY
from crewflow_assets.twin.sync.policy import Commands

LONG_AGO = -(10**6)


class Schedule:
    """The schedules of a fleet, in ticks since the world's beginning.

    An integration syncs at the slots of its own grid. A slower interval skips slots until its end; after a pause it
    syncs at once and then goes back to its grid.

    Attributes:
        next_tick: When each is to sync next, if it is not paused.
        paused_until: Until when each is paused; in the past if it is not.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._since = np.array([customer.since * TICKS_PER_DAY for customer in fleet.customers], dtype=np.int64)
        self._last = np.full(len(fleet), LONG_AGO)
        self._slow_minutes = np.zeros(len(fleet))
        self._slow_until = np.zeros(len(fleet), dtype=np.int64)
        self.paused_until: Ints = np.zeros(len(fleet), dtype=np.int64)
        self.next_tick: Ints = self._slot(self._since, np.arange(len(fleet)))

    def has_begun(self, tick: int) -> Bools:
        """Say which integrations exist by a tick."""
        begun: Bools = tick >= self._since
        return begun

    def due(self, tick: int) -> Ints:
        """Return the integrations that sync in a tick when nobody changes their schedule."""
        on_grid = (tick - self._fleet.phase) % self._fleet.interval == 0
        return np.flatnonzero(on_grid & self.has_begun(tick))

    def running(self, tick: int) -> Ints:
        """Return the integrations that sync in a tick as things stand."""
        return np.flatnonzero((self.next_tick <= tick) & (self.paused_until <= tick) & self.has_begun(tick))

    def ran(self, tick: int, who: Ints) -> None:
        """Note that these have synced."""
        self._last[who] = tick
        self.next_tick[who] = self._following(np.full(len(who), tick), tick, who)

    def obey(self, tick: int, commands: Commands) -> None:
        """Take the commands that concern schedules, as the tick begins."""
        slow = np.flatnonzero(commands.slow_minutes > 0)
        self._slow_minutes[slow], self._slow_until[slow] = commands.slow_minutes[slow], commands.slow_until[slow]
        self.next_tick[slow] = np.maximum(self.next_tick[slow], self._following(self._last[slow], tick, slow))
        pause = np.flatnonzero(commands.pause_until > 0)
        self.paused_until[pause] = commands.pause_until[pause]
        back = np.flatnonzero(commands.resume)
        self.paused_until[back] = self._slow_until[back] = tick
        now = self._slot(np.full(len(back), tick), back)
        self.next_tick[back] = np.minimum(self.next_tick[back], now)

    def interval_minutes(self, tick: int, who: Ints) -> Floats:
        """Return the interval that is set for each."""
        slowed = np.where(tick < self._slow_until[who], self._slow_minutes[who], 0)
        return np.maximum(self._fleet.interval[who] * TICK_MINUTES, slowed)

    def _following(self, last: Ints, tick: int, who: Ints) -> Ints:
        """Return the slot after the last sync as things stand at a tick: no slower one reaches beyond its end."""
        usual = self._slot(np.maximum(self._slow_until[who], last + 1), who)
        return np.minimum(self._slot(last + self._wait(tick, who), who), usual)

    def _wait(self, tick: int, who: Ints) -> Ints:
        """Return the least ticks to the next slot: one, unless a command slows it down."""
        minutes = self.interval_minutes(tick, who)
        slowed = minutes > self._fleet.interval[who] * TICK_MINUTES
        return np.where(slowed, minutes / TICK_MINUTES, 1).astype(np.int64)

    def _slot(self, tick: Ints, who: Ints) -> Ints:
        """Return the first slot that is not before the tick."""
        slot: Ints = tick + (self._fleet.phase[who] - tick) % self._fleet.interval[who]
        return slot
