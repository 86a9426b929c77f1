"""The learned retries in the twin: the same features, the same rules, and logs that judge new policies rightly."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from crewflow_assets.backtest.retries import LearnedRetries, describe, feature_rows
from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS, EDGES
from crewflow_assets.retry_strategy.features import CONTEXT, context_rows
from crewflow_assets.retry_strategy.model import RetryPredictor, fit_table
from crewflow_assets.retry_strategy.off_policy import evaluate, logged_of
from crewflow_assets.retry_strategy.plan import Values
from crewflow_assets.retry_strategy.rules import CAPACITY, NEVER, RELEASED_ON
from crewflow_assets.retry_strategy.taxonomy import CLASSES
from crewflow_assets.twin.retries import parameters
from crewflow_assets.twin.retries.play import RetryLog, instead, play
from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Aws, Explorer
from crewflow_assets.twin.retries.policy import Decisions, Failures
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.history import TRANSIT
from tests.twin.retries.conftest import retry_world


@pytest.fixture(scope="module")
def world() -> RetryWorld:
    return retry_world(21, 40, 8)


class Describing(Explorer):
    """Keeps the features of every decision."""

    def __init__(self, world: RetryWorld) -> None:
        super().__init__(world)
        self.rows: list[pd.DataFrame] = []
        self._of = world

    def decide(self, failures: Failures) -> Decisions:
        rows = pd.DataFrame(context_rows(describe(self._of, failures)), columns=list(CONTEXT))
        self.rows.append(rows.assign(number=failures.call, made=failures.attempts + 1))
        return super().decide(failures)


@pytest.fixture(scope="module")
def explored(world: RetryWorld) -> tuple[Describing, pd.DataFrame, RetryLog]:
    policy = Describing(world)
    log = play(world, policy, horizon_hours=EXPLORED_HOURS).log
    return policy, feature_rows(world, log), log


@pytest.fixture(scope="module")
def predictor(explored: tuple[Describing, pd.DataFrame, RetryLog]) -> RetryPredictor:
    return fit_table(explored[1], ("class", "delay"), seed=1)


def test_the_twin_and_the_platform_have_the_same_grid_of_delays() -> None:
    assert parameters.EDGES == EDGES


def test_features_in_the_world_equal_those_built_from_its_events(
    world: RetryWorld, explored: tuple[Describing, pd.DataFrame, RetryLog]
) -> None:
    policy, table, _ = explored
    calls = {
        f"{world.fleet.customers[who].integration_id}-sync-{tick}": number
        for number, (who, tick) in enumerate(zip(world.calls.who, world.calls.tick, strict=True))
    }
    built = table.assign(number=table["call"].map(calls), made=table["attempt"])
    both = built.merge(pd.concat(policy.rows), on=["number", "made"], suffixes=("", "_there"))
    assert len(both) == len(built) > 300
    for name in CONTEXT:
        here, there = both[name].to_numpy(float), both[f"{name}_there"].to_numpy(float)
        assert np.allclose(here, there, rtol=1e-3, atol=0.2, equal_nan=True), name


def test_what_the_rules_forbid_is_not_retried(world: RetryWorld, predictor: RetryPredictor) -> None:
    played = play(world, LearnedRetries(world, predictor, Values(exploration=0.0)))
    asked = describe(world, _first_failures(world))
    never = np.isin(asked.error_class, [CLASSES.index(name) for name in NEVER])
    assert never.any()
    resent = np.isin(asked.error_class, [CLASSES.index(name) for name in RELEASED_ON])
    assert not played.retries[never & ~resent].any()
    blind = play(world, LearnedRetries(world, predictor, Values(exploration=0.0), resends=False))
    assert not blind.retries[never].any()
    assert played.retries[~never].any()
    told = ~np.isnan(played.log.retry_after_seconds)
    assert (played.log.delay_seconds[told] >= played.log.retry_after_seconds[told]).all()


def test_what_people_mend_is_resent_once_and_not_before_a_good_sync(
    world: RetryWorld, predictor: RetryPredictor
) -> None:
    blind, ours = (
        play(world, LearnedRetries(world, predictor, Values(exploration=0.0), resends=resends))
        for resends in (False, True)
    )
    log, calls = ours.log, world.calls
    first = describe(world, _first_failures(world)).error_class
    waited = np.isin(first, [CLASSES.index(name) for name in RELEASED_ON])[log.call] & (log.attempt == 1)
    assert waited.sum() > 20
    good = world.recorded.attempts.ok
    who, minute = world.recorded.attempts.who[good], world.recorded.attempts.minute[good]
    for call, at in zip(log.call[waited], log.minute[waited], strict=True):
        shown = (who == calls.who[call]) & (minute > calls.minute[call]) & (minute + TRANSIT.seconds / 60 < at)
        assert shown.any()
    assert log.ok[waited].mean() > 0.6
    assert ours.mended(1440).sum() > blind.mended(1440).sum() + 0.5 * waited.sum()
    soon = play(world, LearnedRetries(world, predictor, Values(exploration=0.0, deadline_hours=1.0)))
    late = soon.log.minute - calls.minute[soon.log.call] > 60
    assert not late[np.isin(first, [CLASSES.index(name) for name in RELEASED_ON])[soon.log.call]].any()


def test_what_the_budget_held_back_is_still_to_be_released(world: RetryWorld, predictor: RetryPredictor) -> None:
    ours = LearnedRetries(world, predictor, Values(exploration=0.0))
    failures = _first_failures(world)
    names = [CLASSES.index(name) for name in RELEASED_ON]
    waits = np.flatnonzero(np.isin(describe(world, failures).error_class, names))
    one_each = waits[np.unique(failures.who[waits], return_index=True)[1]]
    asked = Failures(**{one.name: getattr(failures, one.name)[one_each] for one in fields(Failures)})
    found = []
    for tokens in (0.0, CAPACITY, CAPACITY):
        ours._tokens[asked.who], ours._counted[asked.who] = tokens, asked.minute
        found.append(np.isfinite(ours.decide(asked).delay_seconds).sum())
    assert found[0] == 0
    assert found[1] > 0
    assert found[2] == 0


def test_a_write_of_unknown_outcome_is_looked_up_until_that_is_answered(
    world: RetryWorld, predictor: RetryPredictor
) -> None:
    played = play(world, LearnedRetries(world, predictor, Values(exploration=0.0, call=0.0)))
    assert played.look_ups.any()
    assert played.duplicates.sum() == 0
    assert play(world, Aws(world, 60, 4, None)).look_ups.sum() == 0
    log = played.log
    order = np.lexsort((log.attempt, log.call))
    same = log.call[order][1:] == log.call[order][:-1]
    assert not (same & log.look_up[order][:-1] & ~log.look_up[order][1:]).any()


@pytest.mark.parametrize("bucket", [4, 7, 9])
def test_logged_retries_judge_another_policy_as_the_world_does(
    world: RetryWorld, explored: tuple[Describing, pd.DataFrame, RetryLog], bucket: int
) -> None:
    _, _, log = explored
    plain = np.isnan(log.retry_after_seconds) & (log.failed_minute < world.minutes - 1440)
    low, high = max(EDGES[bucket], 1), EDGES[bucket + 1]
    delay = low * (high / low) ** np.random.default_rng(3).random(len(log))
    truth = instead(world, log, delay)[plain].mean()
    rows = pd.DataFrame(
        {
            "propensity": log.propensity,
            "delay_seconds": log.delay_seconds,
            "label": log.ok,
            "entity": world.calls.who[log.call].astype(str),
        }
    )[plain]
    logged, _ = logged_of(rows, success=1.0, call=0.0, waiting=0.0)
    policy = np.zeros((len(rows), BUCKETS))
    policy[:, bucket] = 1
    guess = np.tile(np.clip(np.log(DELAYS) / 20, 0, 1), (len(rows), 1))
    found = evaluate(logged, policy, guess)
    for one in (found.ips, found.doubly_robust):
        assert one.low - 0.03 <= truth <= one.high + 0.03
    assert found.ips.high - found.ips.low < 0.6


def _first_failures(world: RetryWorld) -> Failures:
    calls = world.calls
    return Failures(
        call=np.arange(len(calls)),
        who=calls.who,
        minute=calls.minute,
        body=calls.body,
        attempts=np.zeros(len(calls), dtype=np.int64),
        first_minute=calls.minute,
        retry_after_seconds=calls.retry_after_seconds,
        write=calls.write,
        idempotent=calls.idempotent,
        latency_ms=calls.latency_ms,
        hidden_cause=calls.cause,
        hidden_brief_seconds=np.full(len(calls), np.nan),
        hidden_rest=calls.rest,
    )
