"""A world of syncs stepped to its end, with the hidden state of every tick kept for the retries."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Bools, Singles
from crewflow_assets.twin.sync.attempts import Attempts, joined
from crewflow_assets.twin.sync.hidden import HiddenState
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY
from crewflow_assets.twin.sync.policy import Policy
from crewflow_assets.twin.sync.world import SyncWorld


@dataclass(frozen=True, slots=True)
class Recorded:
    """A world that is over: its attempts, and its hidden state as arrays of (tick, integration).

    See ``HiddenState`` for what the state is made of.
    """

    world: SyncWorld
    attempts: Attempts
    locked_out: Bools
    refused: Bools
    others: Singles
    used: Singles
    needed: Singles


class Recorder:
    """Keeps the hidden state of a world that someone else steps: told once in each tick, before it is finished."""

    def __init__(self, world: SyncWorld) -> None:
        shape = (world.ticks, len(world.fleet))
        self._world = world
        self._locked_out, self._refused = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        self._others, self._used, self._needed = (np.zeros(shape, dtype=np.float32) for _ in range(3))

    def note(self) -> None:
        """Keep the state of the tick that has begun."""
        state: HiddenState = self._world.hidden_state()
        tick = self._world.tick
        self._locked_out[tick], self._refused[tick] = state.locked_out, state.refused
        self._others[tick], self._used[tick], self._needed[tick] = state.others, state.used, state.needed

    def recorded(self, attempts: Attempts) -> Recorded:
        """Return what was kept, with the attempts of the whole world."""
        return Recorded(
            self._world, attempts, self._locked_out, self._refused, self._others, self._used, self._needed
        )


def record(
    world: SyncWorld,
    policy: Policy | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Recorded:
    """Step a world to its end and keep what retries need.

    Args:
        world: That has not begun.
        policy: Decides at each tick; None leaves everything as it is.
        progress: Told after each day how many days of how many are over.
    """
    recorder = Recorder(world)
    parts: list[Attempts] = []
    for tick in range(world.ticks):
        world.begin_tick()
        commands = None if policy is None else policy.decide(world.view())
        recorder.note()
        parts.append(world.finish_tick(commands))
        if (tick + 1) % TICKS_PER_DAY == 0:
            progress((tick + 1) // TICKS_PER_DAY, world.ticks // TICKS_PER_DAY)
    return recorder.recorded(joined(parts))
