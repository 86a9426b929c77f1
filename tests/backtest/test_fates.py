"""What became of due syncs where a retry mended an attempt after a later one had succeeded."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from crewflow_assets.backtest.fates import due_syncs, fate_of
from crewflow_assets.twin.sync.attempts import Attempts
from crewflow_assets.twin.sync.world import SyncWorld, run, standard_draw


def attempts(minutes: list[float], failed: list[bool], who: list[int]) -> Attempts:
    """Return attempts, one a quarter of an hour, of one or two integrations."""
    world = run(SyncWorld([standard_draw(1, 4)], start=datetime(2026, 3, 2, tzinfo=UTC), days=1))
    some = world.where(np.arange(len(minutes)))
    error = np.where(failed, 4, 0).astype(np.int8)
    tick = (np.array(minutes) // 15).astype(np.int64)
    return replace(
        some,
        who=np.array(who, np.int64),
        minute=np.array(minutes, float),
        tick=tick,
        error=error,
        cause=np.where(failed, 2, 0).astype(np.int8),
    )


def test_the_data_is_there_with_the_first_success_whichever_attempt_it_was() -> None:
    before = attempts([1, 16, 31, 1, 16], [True, False, False, False, True], [0, 0, 0, 1, 1])
    due = due_syncs(before, np.zeros(2, np.int64), from_tick=0, until_tick=3)
    mended = replace(before, minute=np.array([50.0, 16, 31, 1, 16]), error=np.array([0, 0, 0, 0, 4], np.int8))
    found = fate_of(due, mended, freshness_minutes=240)
    np.testing.assert_allclose(found.waited[:4], [15, 0, 0, 0])
    np.testing.assert_array_equal(found.failed, [False, False, False, False, True])
    assert found.stale.tolist() == [False, False, False, False, True]


def test_a_success_of_another_integration_is_none_of_ones_own() -> None:
    before = attempts([1, 16, 31], [True, False, False], [0, 1, 1])
    due = due_syncs(before, np.zeros(2, np.int64), from_tick=0, until_tick=3)
    found = fate_of(due, before, freshness_minutes=240)
    assert found.stale.tolist() == [True, False, False]
    assert found.waited[0] > 30
