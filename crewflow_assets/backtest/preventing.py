"""The policies that the closed loop compares with doing nothing: the ceiling and cause-blind slowing."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from crewflow_assets.arrays import Floats
from crewflow_assets.sync_health.policy import slow_interval
from crewflow_assets.twin.sync.attempts import Cause
from crewflow_assets.twin.sync.ceiling import any_of
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY
from crewflow_assets.twin.sync.policy import Commands, View
from crewflow_assets.twin.sync.world import SyncWorld

FRESHNESS_MINUTES = 240.0
LAST_CALL_TICKS = 14
"""A sync that has waited so long is tried even against the odds: after two more ticks it would be too late."""
HOPELESS = 0.99
SLOWEST_TICKS = 8
GRANT_AHEAD_TICKS = 2 * TICKS_PER_DAY


class Ceiling:
    """Knows the hidden state as each tick begins, and does the best that it can think of.

    It holds a sync back while it would probably fail, tick by tick; asks people as soon as a grant has ended or will
    end of age, or a record is refused; and spreads the calls of a day that would not last. It is no strict bound: it
    knows what is, not what will be, and plans no further than a day.

    Args:
        world: That it acts in.
        from_tick: When it begins to act.
        bearable: The risk at which it lets a sync run. A low one avoids failures, a high one gets more syncs done in
            time where an API answers now and then.
    """

    def __init__(self, world: SyncWorld, *, from_tick: int, bearable: float) -> None:
        self._world, self._from, self._bearable = world, from_tick, bearable
        self.actions: Counter[str] = Counter()

    def decide(self, view: View) -> Commands | None:
        """See ``crewflow_assets.twin.sync.policy.Policy``."""
        if view.tick < self._from:
            return None
        world = self._world
        commands = Commands.none(len(world.fleet))
        risks: Mapping[Cause, Floats] = world.hidden_risks()
        risk = any_of({cause: each for cause, each in risks.items() if cause != Cause.TRANSIENT})
        waits = view.tick - view.next_tick
        holds = (waits >= 0) & (risk > np.where(waits < LAST_CALL_TICKS, self._bearable, HOPELESS))
        commands.pause_until[holds] = view.tick + 1
        commands.reauthorise[:] = (risks[Cause.AUTH] > 0) | world.hidden_grants_ending(GRANT_AHEAD_TICKS)
        commands.review_records[:] = risks[Cause.DATA_QUALITY] > 0
        lasting = np.ceil(world.hidden_lasting_interval())
        spread = (lasting > world.fleet.interval) & (world.fleet.interval < SLOWEST_TICKS)
        commands.slow_minutes[spread] = np.minimum(lasting[spread], SLOWEST_TICKS) * TICK_MINUTES
        commands.slow_until[spread] = view.tick + 1
        self.actions.update(held=int(holds.sum()), spread=int(spread.sum()))
        return commands


class BlindSlowing:
    """Slows an integration down after each failure, whatever its cause, for so many ticks; asks nobody."""

    def __init__(self, world: SyncWorld, *, from_tick: int, ticks: int) -> None:
        self._from, self._ticks, self._size = from_tick, ticks, len(world.fleet)
        usual = world.fleet.interval * TICK_MINUTES
        self._slow = np.array([slow_interval(float(each), FRESHNESS_MINUTES) or 0 for each in usual], dtype=float)

    def decide(self, view: View) -> Commands | None:
        """See ``crewflow_assets.twin.sync.policy.Policy``."""
        if view.tick < self._from or view.attempts is None:
            return None
        commands = Commands.none(self._size)
        failed = view.attempts.who[~view.attempts.ok]
        commands.slow_minutes[failed] = self._slow[failed]
        commands.slow_until[failed] = view.tick + self._ticks
        return commands
