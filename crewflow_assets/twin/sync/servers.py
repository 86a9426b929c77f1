"""The API servers of all draws, with their phases and status pages."""

from collections.abc import Mapping, Sequence

import numpy as np

from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.sync.outages import Phase, Timeline, draw_phases
from crewflow_assets.twin.sync.parameters import SYSTEMS, TICK_MINUTES, SyncParameters
from crewflow_assets.twin.sync.status_pages import Status, page


class Servers:
    """One server for each draw and system, numbered as ``Fleet.server`` is.

    Attributes:
        phases: What befalls each, ordered as ``Kind`` is and then by time.
        statuses: What the page of each says, by time.
        timeline: The phases, to look up.

    Args:
        draws: Randomness and parameters of each draw, and phases put in by hand, by system.
        days: How long the world is.
        weekday: Of its first day, Monday being 0.
    """

    def __init__(
        self,
        draws: Sequence[tuple[Randomness, SyncParameters, Mapping[str, Sequence[Phase]]]],
        *,
        days: int,
        weekday: int,
    ) -> None:
        self.phases: list[list[Phase]] = []
        self.statuses: list[list[Status]] = []
        for randomness, parameters, injected in draws:
            for system in SYSTEMS:
                drawn = draw_phases(randomness, system, days, weekday, parameters)
                phases = sorted([*drawn, *injected.get(system, ())], key=lambda phase: (phase.kind, phase.start))
                self.phases.append(phases)
                self.statuses.append(page(randomness, system, phases, days, parameters))
        self.timeline = Timeline(self.phases, days)
        self._said = sorted(
            (int(status.minute // TICK_MINUTES), server, status)
            for server, statuses in enumerate(self.statuses)
            for status in statuses
        )
        self._ticks = np.array([tick for tick, _, _ in self._said])

    def said(self, tick: int) -> list[tuple[int, Status]]:
        """Return what pages said within a tick, as server and status."""
        begin, end = np.searchsorted(self._ticks, (tick, tick + 1))
        return [(server, status) for _, server, status in self._said[begin:end]]
