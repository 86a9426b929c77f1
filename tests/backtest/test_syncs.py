"""Paired worlds: the same due syncs in every cell, and what retries mend counted once."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.sync_prevention_rule import LastError
from crewflow_assets.backtest import syncs
from crewflow_assets.backtest.models import FITTED, NAMES, Models
from crewflow_assets.backtest.syncs import (
    ACTIONS,
    AWS,
    BEST_PREVENTION,
    BEST_RETRIES,
    FIXED,
    LEARNED,
    NO_PREVENTION,
    Cell,
    Size,
    SyncSums,
    mended,
    play_syncs,
)
from crewflow_assets.backtest.watched import Watched
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.retries.parameters import RetryParameters
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import Fixed
from crewflow_assets.twin.retries.record import record
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.policy import Policy
from crewflow_assets.twin.sync.world import SyncWorld

SIZE = Size(draws=3, integrations=8, warm_up=1, days=2)
NOBODY = Models(*(cast(Any, None) for _ in NAMES))
"""Models that nobody asks: patient fixed retries and the rule stand in for what is learned."""


@cache
def played() -> dict[Cell, SyncSums]:
    usual: Callable[..., Policy | None] = syncs._prevention

    def prevention(name: str, world: SyncWorld, models: Models, size: Size) -> Policy | None:
        if name == ACTIONS:
            return Watched(world, LastError(world), from_tick=size.from_tick)
        return usual(name, world, models, size)

    retries = syncs._retry_policies(NOBODY) | {LEARNED: lambda _world: Fixed(300, 5)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncs, "_prevention", prevention)
        patch.setattr(syncs, "_retry_policies", lambda _models: retries)
        return play_syncs(SIZE, NOBODY)


def test_every_cell_is_played_on_the_same_due_syncs() -> None:
    found = played()
    assert set(found) == {(p, r) for p in (NO_PREVENTION, ACTIONS) for r in (FIXED, AWS, LEARNED)} | {
        (BEST_PREVENTION, BEST_RETRIES)
    }
    due = found[NO_PREVENTION, FIXED].due
    assert due.sum() > 1000
    for one in found.values():
        np.testing.assert_array_equal(one.due, due)
        np.testing.assert_array_equal(sum(one.failed_by.values()), one.failed)
        assert (one.mended <= one.mended_in_a_day).all()
        np.testing.assert_array_equal(one.left, one.failures - one.mended_in_a_day)
        assert (one.stale <= one.failed).all()


def test_retries_alone_leave_the_world_as_it_is_and_patience_mends_more() -> None:
    found = played()
    hasty, patient = found[NO_PREVENTION, FIXED], found[NO_PREVENTION, LEARNED]
    np.testing.assert_array_equal(hasty.failures, patient.failures)
    assert patient.failed.sum() < hasty.failed.sum()
    assert (hasty.asks == 0).all()


def test_who_knows_the_hidden_state_does_best_and_asks_are_counted_where_people_are_asked() -> None:
    found = played()
    best = found[BEST_PREVENTION, BEST_RETRIES]
    assert best.failed.sum() == min(one.failed.sum() for one in found.values())
    assert found[ACTIONS, FIXED].alerts.sum() > 0


def test_a_mended_attempt_succeeded_when_its_retry_did_and_the_others_are_as_they_were() -> None:
    recorded = record(SIZE.world())
    world = RetryWorld(recorded, [draw_parameters(RetryParameters, seed) for seed in SIZE.seeds])
    retried = play(world, Fixed(60, 4))
    found = mended(recorded.attempts, world.calls.attempt, retried)
    done = retried.mended(60)
    assert 0 < done.sum() < len(done)
    assert found.ok.sum() == recorded.attempts.ok.sum() + done.sum()
    np.testing.assert_array_equal(found.minute[world.calls.attempt[done]], retried.done_minute[done])
    changed = found.minute != recorded.attempts.minute
    assert set(np.flatnonzero(changed)) == set(world.calls.attempt[done])
    assert NOBODY.versions == dict.fromkeys(NAMES, FITTED)
