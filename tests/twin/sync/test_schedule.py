from itertools import pairwise

import numpy as np
import pytest

from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.sync.fleet import Customer, build_fleet
from crewflow_assets.twin.sync.parameters import DEFAULTS
from crewflow_assets.twin.sync.policy import Commands
from crewflow_assets.twin.sync.schedule import Schedule

COUNT = 40


@pytest.fixture
def schedule() -> Schedule:
    customers = [Customer(f"i-{n}", f"c-{n}", "quickbooks", 20, since=n % 2) for n in range(COUNT)]
    return Schedule(build_fleet([(Randomness(1), customers, DEFAULTS)]))


def ticks_run(schedule: Schedule, commands: dict[int, Commands], until: int = 192) -> list[list[int]]:
    """Return the ticks at which each integration syncs."""
    ran: list[list[int]] = [[] for _ in range(COUNT)]
    for tick in range(until):
        if tick in commands:
            schedule.obey(tick, commands[tick])
        running = schedule.running(tick)
        schedule.ran(tick, running)
        for who in running:
            ran[who].append(tick)
    return ran


def test_left_alone_each_syncs_at_its_interval_from_its_first_day_on(schedule: Schedule) -> None:
    due = [[tick for tick in range(192) if who in schedule.due(tick)] for who in range(COUNT)]
    ran = ticks_run(schedule, {})
    assert ran == due
    assert all(ticks[0] >= 96 * (who % 2) for who, ticks in enumerate(ran))
    assert {b - a for ticks in ran for a, b in pairwise(ticks)} <= {1, 2, 4, 16}


def test_a_pause_skips_syncs_resumes_by_itself_and_returns_to_the_grid(schedule: Schedule) -> None:
    pause = Commands.none(COUNT)
    pause.pause_until[:] = 104
    before = ticks_run(Schedule(schedule._fleet), {})
    ran = ticks_run(schedule, {100: pause})
    for plain, paused in zip(before, ran, strict=True):
        assert not [tick for tick in paused if 100 <= tick < 104]
        missed = [tick for tick in plain if 100 <= tick < 104]
        assert (104 in paused) == (bool(missed) or 104 in plain)
        assert [tick for tick in paused if tick > 104] == [tick for tick in plain if tick > 104]


def test_a_slower_interval_holds_until_it_is_over_and_never_quickens(schedule: Schedule) -> None:
    slow = Commands.none(COUNT)
    slow.slow_minutes[:], slow.slow_until[:] = 30.0, 140
    ran = ticks_run(schedule, {100: slow})
    for who, ticks in enumerate(ran):
        usual = int(schedule._fleet.interval[who])
        gaps = {b - a for a, b in pairwise(ticks) if b >= 100 and a < 138}
        assert min(gaps, default=usual) >= max(usual, 2)
        assert {b - a for a, b in pairwise(ticks) if a > 142} == {usual}
    assert schedule.interval_minutes(139, np.arange(COUNT)).min() == 30
    assert schedule.interval_minutes(140, np.arange(COUNT)).min() == 15


def test_the_usual_interval_is_back_at_once_when_a_slower_one_is_over(schedule: Schedule) -> None:
    slow = Commands.none(COUNT)
    slow.slow_minutes[:], slow.slow_until[:] = 600.0, 130
    for who, ticks in enumerate(ticks_run(schedule, {100: slow})):
        usual = int(schedule._fleet.interval[who])
        assert min(tick for tick in ticks if tick >= 130) < 130 + usual


def test_what_was_paused_can_be_resumed(schedule: Schedule) -> None:
    pause, resume = Commands.none(COUNT), Commands.none(COUNT)
    pause.pause_until[:] = 150
    resume.resume[:] = True
    ran = ticks_run(schedule, {100: pause, 105: resume})
    assert all(any(105 <= tick <= 125 for tick in ticks) for ticks in ran)
