"""Policies judged on the simulated installation's logs, against what they would truly have come to there."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from crewflow_assets.retry_strategy.delays import BUCKETS, bucket_of, spread
from crewflow_assets.retry_strategy.features import CONTEXT
from crewflow_assets.retry_strategy.model import fit_table
from crewflow_assets.retry_strategy.off_policy import Estimate, evaluate, logged_of, rewards
from crewflow_assets.retry_strategy.table import as_table
from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.retries.history import retry_table
from crewflow_assets.twin.retries.parameters import DEFAULTS
from crewflow_assets.twin.retries.play import RetryLog, instead, play
from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Explorer
from crewflow_assets.twin.retries.record import record
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.fleet import draw_customers
from crewflow_assets.twin.sync.history import attempt_table
from crewflow_assets.twin.sync.world import Draw, SyncWorld

PRICES = {"success": 1.0, "call": 0.02, "waiting": 0.02}
SHORT, LONG = 3, 10
"""Buckets: 30 to 60 s, 1 to 2 h."""


@pytest.fixture(scope="module")
def logged() -> tuple[RetryWorld, RetryLog, pd.DataFrame]:
    customers = tuple(draw_customers(Randomness(5), 30))
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    world = RetryWorld(record(SyncWorld([Draw(5, customers)], start=begin, days=20)), [DEFAULTS])
    log = play(world, Explorer(world), horizon_hours=EXPLORED_HOURS).log
    attempts = attempt_table(world.recorded.world, world.recorded.attempts).to_pandas()
    return world, log, as_table(retry_table(world, log).to_pandas(), attempts)


def truth(world: RetryWorld, log: RetryLog, table: pd.DataFrame, bucket: int) -> float:
    """Return what always waiting for a bucket would have been worth, where the log has a propensity."""
    random = np.random.default_rng(0)
    seconds = np.array([spread(bucket, uniform) for uniform in random.random(len(log))])
    reward = instead(world, log, seconds) - PRICES["call"] - PRICES["waiting"] * seconds / 3600
    calls = retry_table(world, log).select(["call_id", "attempt"]).to_pandas()
    by_retry = pd.Series(reward, index=pd.MultiIndex.from_frame(calls))
    kept = table[(table["propensity"] > 0) & (table["retry_after"].isna())]
    return float(by_retry.loc[list(zip(kept["call"], kept["attempt"], strict=True))].mean())


def estimate(table: pd.DataFrame, bucket: int) -> Estimate:
    kept = table[table["retry_after"].isna()]
    rows, _ = logged_of(kept, **PRICES)
    chosen = kept[(kept["propensity"] > 0)]
    halves = chosen["entity"].map(hash_parity).to_numpy()
    curves = np.empty((len(chosen), BUCKETS))
    for half in (0, 1):  # the model does not see the integrations that it speaks of
        model = fit_table(chosen[halves != half], ("class", "delay"), seed=1)
        curves[halves == half] = model.curves(chosen[halves == half][list(CONTEXT)].to_numpy(np.float32))
    policy = np.zeros((len(chosen), BUCKETS))
    policy[:, bucket] = 1
    return evaluate(rows, policy, rewards(curves, **PRICES))


def hash_parity(entity: str) -> int:
    return int(entity.rpartition("-")[2]) % 2


@pytest.mark.parametrize("bucket", [SHORT, LONG])
def test_the_intervals_hold_the_true_value(logged: tuple[RetryWorld, RetryLog, pd.DataFrame], bucket: int) -> None:
    world, log, table = logged
    found, true = estimate(table, bucket), truth(world, log, table, bucket)
    assert found.ips.low - 0.02 <= true <= found.ips.high + 0.02
    assert found.doubly_robust.low - 0.02 <= true <= found.doubly_robust.high + 0.02
    assert abs(found.doubly_robust.value - true) < 0.08


def test_the_better_policy_is_found(logged: tuple[RetryWorld, RetryLog, pd.DataFrame]) -> None:
    world, log, table = logged
    assert truth(world, log, table, LONG) > truth(world, log, table, SHORT)
    assert estimate(table, LONG).doubly_robust.value > estimate(table, SHORT).doubly_robust.value


def test_logged_propensities_are_how_often_buckets_were_chosen(
    logged: tuple[RetryWorld, RetryLog, pd.DataFrame],
) -> None:
    _, _, table = logged
    kept = table[(table["propensity"] > 0) & table["retry_after"].isna()]
    weight = 1 / kept["propensity"]
    bucket = bucket_of(kept["delay_seconds"].to_numpy(float))
    for place in range(BUCKETS):  # each bucket stands for all decisions
        assert weight[bucket == place].sum() / len(kept) == pytest.approx(1, abs=0.25)
