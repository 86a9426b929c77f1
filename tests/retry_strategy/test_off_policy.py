"""Policies judged on old logs, against worlds whose truth is known."""

import numpy as np
import pytest

from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS
from crewflow_assets.retry_strategy.off_policy import Logged, evaluate, logged_of, rewards
from tests.retry_strategy.failing import table

CALL, WAITING = 0.02, 0.02


class Bandit:
    """Two kinds of trouble, one short and one long, a skewed logging policy, and a policy to be judged."""

    def __init__(self, seed: int, n: int = 4000) -> None:
        random = np.random.default_rng(seed)
        self.kind = random.integers(2, size=n)
        usual = np.where(self.kind[:, None] == 0, 30.0, 1500.0)
        self.truth = DELAYS / (DELAYS + usual)
        log = np.exp(-0.5 * ((np.arange(BUCKETS) - 5) / 2.5) ** 2)
        self.log = 0.8 * log / log.sum() + 0.2 / BUCKETS
        bucket = random.choice(BUCKETS, size=n, p=self.log)
        ok = random.random(n) < self.truth[np.arange(n), bucket]
        reward = ok - CALL - WAITING * DELAYS[bucket] / 3600
        cluster = np.array([f"i-{c}" for c in random.integers(150, size=n)], object)
        self.logged = Logged(bucket, self.log[bucket], reward, cluster)
        self.expected = rewards(self.truth, success=1, call=CALL, waiting=WAITING)
        self.policy = np.zeros((n, BUCKETS))
        self.policy[np.arange(n), self.expected.argmax(axis=1)] = 0.9
        self.value = float((self.policy * self.expected).sum(axis=1).mean())


def test_the_estimates_find_the_true_value_and_their_intervals_hold_it() -> None:
    inside = {"ips": 0, "self_normalised": 0, "doubly_robust": 0}
    wrong_model = np.full((4000, BUCKETS), 0.3)
    errors = []
    for seed in range(20):
        bandit = Bandit(seed)
        found = evaluate(bandit.logged, bandit.policy, wrong_model)
        for name in inside:
            interval = getattr(found, name)
            inside[name] += interval.low <= bandit.value <= interval.high
        errors.append(found.doubly_robust.value - bandit.value)
    assert min(inside.values()) >= 16
    assert abs(np.mean(errors)) < 0.02


def test_a_good_model_makes_the_doubly_robust_interval_narrower() -> None:
    bandit = Bandit(1)
    found = evaluate(bandit.logged, bandit.policy, bandit.expected)
    width = {name: getattr(found, name).high - getattr(found, name).low for name in ("ips", "doubly_robust")}
    assert width["doubly_robust"] < 0.7 * width["ips"]


def test_wrong_propensities_are_mended_by_a_right_model() -> None:
    bandit = Bandit(2)
    even = Logged(bandit.logged.bucket, np.full(4000, 1 / BUCKETS), bandit.logged.reward, bandit.logged.cluster)
    found = evaluate(even, bandit.policy, bandit.expected)
    assert abs(found.doubly_robust.value - bandit.value) < 0.03
    assert abs(found.ips.value - bandit.value) > 0.1


def test_never_retrying_is_worth_nothing() -> None:
    bandit = Bandit(3)
    found = evaluate(bandit.logged, np.zeros_like(bandit.policy), bandit.expected)
    assert found.ips.value == found.doubly_robust.value == 0


def test_the_logging_policy_is_worth_what_it_got() -> None:
    bandit = Bandit(4)
    found = evaluate(bandit.logged, np.tile(bandit.log, (4000, 1)), bandit.expected)
    assert found.ips.value == pytest.approx(bandit.logged.reward.mean())
    assert found.effective_rows == pytest.approx(4000)


def test_rows_without_propensity_are_left_out_and_refused() -> None:
    rows = table(60)
    rows.loc[rows.index[:7], "propensity"] = np.nan
    logged, kept = logged_of(rows, success=1, call=CALL, waiting=WAITING)
    assert (~kept).sum() == 7
    assert len(logged.bucket) == len(rows) - 7
    with pytest.raises(ValueError, match=r"row 0 has the propensity 0.0"):
        Logged(np.zeros(1, int), np.zeros(1), np.zeros(1), np.array(["a"], object))


def test_what_is_no_policy_is_refused() -> None:
    bandit = Bandit(5)
    with pytest.raises(ValueError, match="above 1"):
        evaluate(bandit.logged, bandit.policy * 2, bandit.expected)
    with pytest.raises(ValueError, match="policy has the shape"):
        evaluate(bandit.logged, bandit.policy[:, :3], bandit.expected)
