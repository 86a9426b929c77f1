"""Plans maximise the stated value, explore as often as they say, and keep to what is allowed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS, bucket_of
from crewflow_assets.retry_strategy.evaluation import failures_of
from crewflow_assets.retry_strategy.features import Failures
from crewflow_assets.retry_strategy.plan import QUOTA, Values, ahead, plan, price_of, probabilities
from tests.retry_strategy.failing import table
from tests.retry_strategy.test_model import fitted

VALUES = Values(exploration=0.0)
NEVER_LATE = np.full(1, np.inf)


def failures(name: str = "server_error", n: int = 1, **fields: Any) -> Failures:
    rows = table(300, seed=9)
    one = rows[(rows["error_class"] == name) & (rows["attempts"] == 1)].iloc[[0] * n]
    found = failures_of(one)
    changed: dict[str, Any] = {key: np.full(n, value) for key, value in fields.items()}
    return replace(found, **changed)


def middle(n: int = 1) -> Any:
    return np.full((n, 3), 0.5)


def test_the_delay_is_that_of_the_highest_value() -> None:
    found = plan(fitted(), failures(), VALUES, middle())
    assert found.value[0] == pytest.approx(max(plan_of_bucket(place) for place in range(BUCKETS)))
    assert bucket_of(found.seconds[0]) == found.bucket[0]


def plan_of_bucket(bucket: int) -> float:
    """Return the value of one delay, by drawing it."""
    values = replace(VALUES, exploration=1.0)
    drawn = np.array([[0.0, (bucket + 0.5) / BUCKETS, 0.5]])
    found = plan(fitted(), failures(), values, drawn)
    assert found.bucket[0] == bucket
    return float(found.value[0])


def test_what_never_mends_is_given_up() -> None:
    found = plan(fitted(), failures("validation"), VALUES, middle())
    assert not found.retry[0]
    assert np.isnan(found.seconds[0])
    assert found.probability[0] < 0.1


def test_a_dearer_wait_brings_an_earlier_retry_and_a_dearer_call_a_later_one() -> None:
    usual = plan(fitted(), failures(), VALUES, middle()).bucket[0]
    assert plan(fitted(), failures(), replace(VALUES, waiting=2.0), middle()).bucket[0] < usual
    patient = replace(VALUES, waiting=1e-6, call=0.2)
    assert plan(fitted(), failures(), patient, middle()).bucket[0] > usual


def test_a_call_may_have_a_deadline_of_its_own() -> None:
    several = failures(n=3)
    found = plan(fitted(), several, VALUES, middle(3), deadline=np.array([np.inf, 0.5, 1000.0]))
    usual = plan(fitted(), failures(), VALUES, middle())
    assert found.seconds[0] == usual.seconds[0] == found.seconds[2]
    assert found.seconds[1] <= 1800
    all_of_them = plan(fitted(), several, replace(VALUES, deadline_hours=0.5), middle(3))
    assert all_of_them.value[0] == found.value[1]


def test_a_call_that_is_worth_little_is_given_up() -> None:
    assert not plan(fitted(), failures(), replace(VALUES, success=0.01, giving_up=0.0), middle()).retry[0]


def test_near_the_quotas_end_a_call_is_dearer() -> None:
    full = failures()
    empty = replace(full, around={**full.around, "headroom": np.array([0.0])})
    values = replace(VALUES, call=0.11)
    first, second = (plan(fitted(), one, values, middle()).value[0] for one in (full, empty))
    assert second < first - 0.5


def test_a_quota_that_comes_back_with_the_day_makes_only_todays_calls_dearer() -> None:
    empty = failures(hour=23.0)
    empty = replace(empty, around={**empty.around, "headroom": np.array([0.1])})
    price = price_of(empty, VALUES)[0] - VALUES.waiting * DELAYS / 3600
    assert price[0] == pytest.approx(10 * VALUES.call)
    assert price[-1] == pytest.approx(VALUES.call)
    spent = replace(empty, error_class=np.array([QUOTA]))
    assert price_of(spent, VALUES)[0, 0] < 2 * VALUES.call


def test_nothing_is_retried_for_a_success_after_the_deadline() -> None:
    soon = replace(VALUES, deadline_hours=0.5)
    assert plan(fitted(), failures(), soon, middle()).seconds[0] <= 1800
    for late_by in (1.0, 100.0, 1800.0):
        late = failures(since_first_failure=1800.0 + late_by, attempts=2.0)
        assert not plan(fitted(), late, soon, middle()).retry[0]
    assert plan(fitted(), late, VALUES, middle()).retry[0]


def test_retry_after_is_obeyed_even_when_exploring() -> None:
    n = 300
    many = failures("rate_limit", n, retry_after=700.0)
    uniforms = np.random.default_rng(0).random((n, 3))
    found = plan(fitted(), many, replace(VALUES, exploration=0.5), uniforms)
    assert (found.seconds >= 700).all()
    assert found.explored.mean() == pytest.approx(0.5, abs=0.1)


def test_propensities_are_how_often_buckets_are_chosen() -> None:
    n = 3000
    values = replace(VALUES, exploration=0.2)
    found = plan(fitted(), failures("rate_limit", n), values, np.random.default_rng(1).random((n, 3)))
    for bucket in range(BUCKETS):
        mine = found.bucket == bucket
        assert mine.any()
        [propensity] = set(found.propensity[mine])
        assert mine.mean() == pytest.approx(propensity, abs=0.03)
    greedy = plan(fitted(), failures("rate_limit", n), VALUES, middle(n))
    chosen = probabilities(greedy, values, np.zeros(n))
    np.testing.assert_allclose(chosen.sum(axis=1), 1)
    np.testing.assert_allclose(chosen[np.arange(n), found.bucket], found.propensity)


def test_attempts_come_to_an_end() -> None:
    found = plan(fitted(), failures(attempts=float(VALUES.most_attempts)), VALUES, middle())
    assert not found.retry[0]
    first = plan(fitted(), failures(), VALUES, middle())
    assert 2 <= first.most_attempts[0] <= VALUES.most_attempts


def test_a_rule_forbids() -> None:
    assert not plan(fitted(), failures(), VALUES, middle(), allowed=np.array([False])).retry[0]


def test_what_further_retries_are_worth_is_solved_backwards() -> None:
    kind = failures().error_class
    usual = logit(np.clip(fitted().usual[kind], 1e-3, 1 - 1e-3))
    last = VALUES.most_attempts
    price = VALUES.call + VALUES.waiting * DELAYS[None] / 3600
    one_left = ahead(usual, np.zeros(1), np.array([last - 2]), price, NEVER_LATE, VALUES)
    p = expit(usual[0, 5, 0])
    assert one_left.worth[0, 0] == pytest.approx((p - price - (1 - p) * VALUES.giving_up).max())
    assert one_left.retries[0, 0] == 1
    assert (
        ahead(usual, np.zeros(1), np.array([last - 1]), price, NEVER_LATE, VALUES).worth == -VALUES.giving_up
    ).all()
    many_left = ahead(usual, np.zeros(1), np.array([1]), price, NEVER_LATE, VALUES)
    assert many_left.worth[0, 0] > one_left.worth[0, 0]


def test_a_call_that_is_harder_to_mend_than_its_class_stays_so() -> None:
    usual = logit(np.clip(fitted().usual[failures().error_class], 1e-3, 1 - 1e-3))
    made, price = np.array([1]), VALUES.call + VALUES.waiting * DELAYS[None] / 3600
    worth = [ahead(usual, np.array([shift]), made, price, NEVER_LATE, VALUES).worth[0] for shift in (-9.0, -2.0, 0.0)]
    assert (worth[0] == -VALUES.giving_up).all()
    assert (worth[1] <= worth[2]).all()


def test_a_useless_quick_retry_is_not_made_for_the_sake_of_the_next() -> None:
    found = plan(fitted(), failures("server_error"), VALUES, middle())
    assert found.curves[0, 0] < 0.05
    assert found.seconds[0] > 300
