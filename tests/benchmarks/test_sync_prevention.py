from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.sync_prevention import CEILING, NOTHING, RULE, Loop
from benchmarks.sync_prevention_rule import LastError
from crewflow_assets.backtest.fates import Due, due_syncs, fate_of, figures, more_avoided, ratio
from crewflow_assets.backtest.preventing import BlindSlowing, Ceiling
from crewflow_assets.backtest.watched import Watched
from crewflow_assets.twin.sync.attempts import Attempts, Cause
from crewflow_assets.twin.sync.policy import Policy
from crewflow_assets.twin.sync.world import SyncWorld, run

LOOP = Loop(draws=3, integrations=15, warm_up=2, days=4)


def attempts(rows: list[tuple[int, int, bool]]) -> Attempts:
    """Return attempts of (who, tick, ok), a tick being 15 minutes."""
    who, tick, ok = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(who))
    cause = np.where(ok, Cause.NONE, Cause.API_DOWN).astype(np.int8)
    return Attempts(who, tick, tick * 15.0, (~ok).astype(np.int8), *(nothing,) * 9, cause, nothing)  # type: ignore[arg-type]


def due_of(world: Attempts, until: int = 100) -> Due:
    return due_syncs(world, np.zeros(5, dtype=np.int64), from_tick=0, until_tick=until)


def test_without_a_policy_a_due_sync_fails_as_its_attempt_does() -> None:
    world = attempts([(0, 0, True), (0, 4, False), (0, 8, True), (1, 1, False), (1, 100, True)])
    due = due_of(world)
    fate = fate_of(due, world, freshness_minutes=240)
    assert (fate.failed == due.failed).all()
    assert fate.failed.tolist() == [False, True, False, True]
    assert fate.stale.tolist() == [False, False, False, True]  # the first was made good an hour later
    assert (fate.delay == 0).all()


def test_a_sync_that_is_held_back_is_carried_by_the_next_attempt() -> None:
    due = due_of(attempts([(0, 0, False), (0, 4, False), (0, 8, True)]))
    fate = fate_of(due, attempts([(0, 6, True), (0, 8, True)]), freshness_minutes=240)
    assert not fate.failed.any()
    assert fate.delay.tolist() == [90, 30, 0]


def test_holding_back_beyond_the_freshness_limit_is_a_failure() -> None:
    due = due_of(attempts([(0, 0, True), (0, 4, True), (0, 8, True)]))
    fate = fate_of(due, attempts([(0, 18, True)]), freshness_minutes=240)
    assert fate.failed.tolist() == [True, False, False]
    assert fate_of(due, attempts([(1, 18, True)]), freshness_minutes=240).failed.all()


def test_one_failed_attempt_fails_all_that_it_carries() -> None:
    due = due_of(attempts([(0, 0, True), (0, 4, True), (0, 8, True)]))
    fate = fate_of(due, attempts([(0, 8, False), (0, 9, True)]), freshness_minutes=240)
    assert fate.failed.all()
    assert not fate.stale.any()


def test_what_a_policy_causes_counts_against_it() -> None:
    world = attempts([(0, 0, False), (0, 4, True), (0, 8, True)])
    due, late = due_of(world), attempts([(0, 4, True), (0, 40, True)])
    nothing = fate_of(due, world, freshness_minutes=240)
    one = figures(due, fate_of(due, late, freshness_minutes=240), nothing=nothing, ceiling=nothing)
    assert one.avoided.value == 0  # one avoided, one caused
    assert one.by_cause[Cause.API_DOWN].value == 1
    assert one.caused.value == pytest.approx(1000 / 3)


def test_two_policies_are_compared_on_the_same_failures() -> None:
    world = attempts([(0, 0, False), (0, 4, False), (0, 8, True)])
    due = due_of(world)
    held = fate_of(due, attempts([(0, 5, True), (0, 8, True)]), freshness_minutes=240)
    nothing = fate_of(due, world, freshness_minutes=240)
    assert more_avoided(due, held, nothing).value == 1
    assert more_avoided(due, nothing, held).value == -1


def test_a_ratio_is_that_of_the_sums_and_lies_in_its_interval() -> None:
    interval = ratio(np.array([1.0, 2.0, 0.0]), np.array([2.0, 2.0, 4.0]))
    assert interval.value == pytest.approx(3 / 8)
    assert interval.low < 3 / 8 < interval.high
    assert np.isnan(ratio(np.zeros(2), np.zeros(2)).value)


def test_the_rule_waits_as_long_as_a_refusal_said() -> None:
    world = LOOP.world()
    rule = LastError(world)
    for _ in range(97):
        world.begin_tick()
        done = world.finish_tick()
    refused = replace(
        done, error=np.full(len(done), 8, np.int8), retry_after_seconds=np.full(len(done), 7200.0, np.float32)
    )
    world.begin_tick()
    rule.see(replace(world.view(), attempts=refused))
    found = rule.risks(world.view())
    assert len(found) == len(done) > 0
    for place, risk in found.items():
        assert risk.forecast is not None
        assert risk.forecast.reset_minutes == pytest.approx(
            done.minute[done.who == place][0] + 120 - 97 * 15, abs=0.1
        )


@pytest.fixture(scope="module")
def nothing() -> Attempts:
    return run(LOOP.world())


@cache
def led(name: str) -> tuple[SyncWorld, Policy, Attempts]:
    """Return a world, the policy that led it, and what was attempted."""
    world = LOOP.world()
    policy: Policy
    match name:
        case "ceiling":
            policy = Ceiling(world, from_tick=LOOP.from_tick, bearable=0.1)
        case "blind":
            policy = BlindSlowing(world, from_tick=LOOP.from_tick, ticks=8)
        case _:
            policy = Watched(world, LastError(world), from_tick=LOOP.from_tick)
    return world, policy, run(world, policy)


@pytest.mark.parametrize("name", ["ceiling", "blind", "rule"])
def test_nothing_differs_before_a_policy_begins_and_something_does_afterwards(name: str, nothing: Attempts) -> None:
    _, _, attempted = led(name)
    before, after = (each.where(each.tick < LOOP.from_tick) for each in (nothing, attempted))
    assert np.array_equal(before.who, after.who)
    assert np.array_equal(before.error, after.error)
    assert len(attempted) != len(nothing)


def test_the_ceiling_and_the_rule_avoid_failures_and_the_ceiling_more_of_them_where_an_api_is_down(
    nothing: Attempts,
) -> None:
    failures, down = [], []
    for name in ("ceiling", "rule"):
        world, _, attempted = led(name)
        due = due_syncs(nothing, world.fleet.draw, from_tick=LOOP.from_tick, until_tick=world.ticks - 96)
        failed = fate_of(due, attempted, freshness_minutes=240).failed
        failures.append(failed.sum())
        down.append(failed[due.cause == Cause.API_DOWN].sum())
    assert max(failures) < due.failed.sum()
    assert down[0] < down[1]


def test_people_are_told_once_of_a_trouble_that_goes_on(nothing: Attempts) -> None:
    _, policy, _ = led("rule")
    assert isinstance(policy, Watched)
    failing = nothing.where(~nothing.ok & (nothing.tick >= LOOP.from_tick))
    assert 0 < policy.told.sum() < len(failing) / 2
    assert policy.told.sum() >= len(set(failing.who.tolist())) / 2


def test_the_command_prints_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from benchmarks.sync_prevention import main

    monkeypatch.setattr("benchmarks.sync_prevention.LONGEST_SLOWING", 7)  # tried by halving, each a run of the world

    app = typer.Typer()
    app.command()(main)
    size = ["--draws", "2", "--integrations", "8", "--days", "2", "--warm-up", "1", "--skip-model"]
    shown = CliRunner().invoke(app, [*size, "--json", str(tmp_path / "f.json"), "--plots", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    for name in (NOTHING, CEILING, RULE):
        assert f"| {name} |" in shown.output
    assert (tmp_path / "f.json").exists()
    assert (tmp_path / "sync-prevention.png").exists()
