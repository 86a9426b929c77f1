"""Which integrations are worth a look: something went wrong lately, with them or with their API.

Describing two thousand integrations at every tick would take hours, so the closed loop describes those that are due
and of which something is out of the ordinary. The look at all that are due, now and then, counts what this misses.
"""

import numpy as np

from crewflow_assets.arrays import Bools, Ints
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY
from crewflow_assets.twin.sync.policy import View
from crewflow_assets.twin.sync.status_pages import OPERATIONAL
from crewflow_assets.twin.sync.world import SyncWorld

NEVER = -(10**6)
FAILED_WITHIN = TICKS_PER_DAY // 2
HITS_WITHIN = 8
LITTLE_LEFT = 0.5
SLOW = 2.0
OTHERS_WITHIN = 4
OTHERS_SHARE = 0.2


class Suspects:
    """What is known of the integrations of a world, from what the platform sees."""

    def __init__(self, world: SyncWorld) -> None:
        size, servers = len(world.fleet), len(world.servers.phases)
        self._fleet, self._limit = world.fleet, world.daily_limit
        self._failed: Ints = np.full(size, NEVER)
        self._hit: Ints = np.full(size, NEVER)
        self._left = np.ones(size)
        self._usual = np.full(size, np.nan)
        self._slow = np.zeros(size, dtype=bool)
        self._odd_page = np.zeros(servers, dtype=bool)
        self._counts = np.zeros((OTHERS_WITHIN, 2, servers))

    def see(self, view: View) -> None:
        """Take note of the tick before."""
        for page, status in view.statuses:
            self._odd_page[page] = status.status != OPERATIONAL
        if view.attempts is None:
            return
        done, tick = view.attempts, view.tick - 1
        who, server = done.who, self._fleet.server[done.who]
        self._failed[who[~done.ok]] = tick
        self._hit[who[done.hits > 0]] = tick
        known = ~np.isnan(done.calls_left)
        self._left[who[known]] = done.calls_left[known] / self._limit[who[known]]
        latency = np.log(done.latency_ms.astype(np.float64) + 1)
        usual = np.where(np.isnan(self._usual[who]), latency, self._usual[who])
        self._slow[who] = latency - usual > np.log(SLOW)
        self._usual[who] = usual + 0.05 * (latency - usual)
        servers = self._counts.shape[2]
        self._counts[tick % OTHERS_WITHIN] = (
            np.bincount(server, minlength=servers),
            np.bincount(server, ~done.ok, minlength=servers),
        )

    def among(self, who: Ints, tick: int) -> Ints:
        """Return those of the integrations that are worth a look as a tick begins."""
        tried, failed = self._counts.sum(axis=0)
        troubled = self._odd_page | ((failed >= 2) & (failed > OTHERS_SHARE * tried))
        is_odd: Bools = (
            (tick - self._failed[who] <= FAILED_WITHIN)
            | (tick - self._hit[who] <= HITS_WITHIN)
            | (self._left[who] < LITTLE_LEFT)
            | self._slow[who]
            | troubled[self._fleet.server[who]]
        )
        return who[is_odd]
