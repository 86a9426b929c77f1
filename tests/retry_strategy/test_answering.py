"""Answers from the store: the plan, the rules above it, the budget, the breaker, and a sentence that is true."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.retry_strategy import answering
from crewflow_assets.retry_strategy.answering import answer
from crewflow_assets.retry_strategy.contract import RetryRequest, RetryResponse
from crewflow_assets.retry_strategy.delays import bucket_of
from crewflow_assets.retry_strategy.features import Failures, context_rows
from crewflow_assets.retry_strategy.model_spec import RETRY_STRATEGY
from crewflow_assets.retry_strategy.recent import _recent
from crewflow_assets.retry_strategy.rules import CAPACITY, PROBE_SECONDS
from crewflow_assets.settings import get_settings
from tests.retry_strategy.asking import MINUTE, NOON, add_companies, attempt, post, request
from tests.retry_strategy.test_model import fitted


@pytest.fixture
def greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_RETRY_EXPLORATION", "0")


@pytest.fixture
def asked(sqlite_store: Engine, greedy: None) -> Iterator[Engine]:
    get_settings.cache_clear()
    _recent.cache_clear()
    add_companies()
    yield sqlite_store
    _recent.cache_clear()


def ask(*requests: RetryRequest, at: Any = NOON) -> list[dict[str, Any]]:
    with clock.fixed(at):
        return [one.fields for one in answer(fitted(), requests)]


def test_an_answer_keeps_the_contract(asked: Engine) -> None:
    for one in (request(), request(error_message="invalid_grant", status_code=401), request(previous_attempts=50)):
        [fields] = ask(one)
        said = RetryResponse.model_validate(
            {**fields, "prediction_id": "p-1", "model_version": "1.0", "variant": "champion"}
        )
        assert said.should_retry == (said.optimal_delay is not None) == (said.alternative is None)
        assert said.max_attempts >= one.previous_attempts


def test_the_example_is_answered(asked: Engine) -> None:
    [fields] = ask(RetryRequest.model_validate(RETRY_STRATEGY.example))
    assert fields["should_retry"]
    assert fields["error_class"] == "rate_limit"
    assert fields["classified_by"] == "code"
    assert fields["reason"].startswith("rate_limit by its code (too many calls in a minute or at once): after ")


def test_delay_probability_and_propensity_belong_together(asked: Engine) -> None:
    for number in range(20):
        [fields] = ask(request(error_message=f"Service Unavailable {number}"))
        assert fields["propensity"] == 1
        [bucket] = set(np.atleast_1d(bucket_of(fields["optimal_delay"])))
        assert bucket in (8, 9, 10)
        assert 0.3 < fields["success_probability"] <= 1


def test_calls_that_failed_together_do_not_come_back_together(asked: Engine) -> None:
    delays = [fields["optimal_delay"] for fields in ask(*[request() for _ in range(20)])]
    assert len(set(delays)) > 15


@pytest.mark.parametrize(
    ("fields", "alternative", "said"),
    [
        ({"status_code": 401, "error_message": "invalid_grant"}, "queue_for_manual", "connect the company again"),
        ({"status_code": 401, "error_message": "TokenExpired"}, "use_fallback", "refresh token"),
        ({"status_code": 400, "error_message": "hours must be positive"}, "queue_for_manual", "correct the record"),
        ({"status_code": None, "error_message": "ETIMEDOUT", "write": True}, "use_fallback", "look it up"),
        ({"retry_after_seconds": 90_000.0}, "queue_for_manual", "asks to wait 25 hours"),
        ({"previous_attempts": 8}, "queue_for_manual", "it was made 8 times, and 8 are the most"),
    ],
)
def test_rules_stand_above_the_model(asked: Engine, fields: dict[str, Any], alternative: str, said: str) -> None:
    [found] = ask(request(**fields))
    assert not found["should_retry"]
    assert found["alternative"] == alternative
    assert said in found["reason"]
    assert found["propensity"] is None


def test_a_write_with_a_key_may_be_repeated(asked: Engine) -> None:
    [found] = ask(request(status_code=None, error_message="ECONNRESET", write=True, idempotency_key="k-1"))
    assert found["should_retry"]


def test_retry_after_is_obeyed_to_the_second(asked: Engine) -> None:
    for wait in (0.5, 59.7, 60.0, 3000.2):
        [found] = ask(request(status_code=429, error_message="Too Many Requests", retry_after_seconds=wait))
        assert found["optimal_delay"] >= wait
        assert "the API asks to wait" in found["reason"]


def test_a_deadline_is_the_requests_own_or_else_the_settings(asked: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    patient, hurried = ask(request(), request(deadline_hours=0.1))
    assert patient["optimal_delay"] > 360 >= hurried["optimal_delay"]
    monkeypatch.setenv("CREWFLOW_RETRY_DEADLINE_HOURS", "0.1")
    get_settings.cache_clear()
    usual, own, late = ask(
        request(), request(deadline_hours=100.0), request(seconds_since_first_failure=400.0, previous_attempts=2)
    )
    assert usual["optimal_delay"] <= 360 < own["optimal_delay"]
    assert late["alternative"] == "queue_for_manual"
    assert late["reason"].endswith("a success counts within 6 min of the first failure alone")


def test_the_budget_runs_out_and_comes_back(asked: Engine) -> None:
    found = ask(*[request(integration_type="xero") for _ in range(int(CAPACITY) + 2)])
    assert [one["should_retry"] for one in found] == [True] * int(CAPACITY) + [False] * 2
    assert found[-1]["alternative"] == "use_fallback"
    assert "retry budget for xero of c-1 is used up" in found[-1]["reason"]
    [other] = ask(request(integration_type="xero", company_id="c-2"))
    assert other["should_retry"]
    [later] = ask(request(integration_type="xero"), at=NOON + MINUTE)
    assert later["should_retry"]


def test_an_answer_without_a_retry_costs_nothing(asked: Engine) -> None:
    ask(*[request(status_code=401, error_message="invalid_grant") for _ in range(int(CAPACITY) + 2)])
    [found] = ask(request())
    assert found["should_retry"]


def test_an_api_that_is_down_is_probed_one_by_one(asked: Engine) -> None:
    post(
        *(attempt(n, "c-2", NOON - 5 * MINUTE + n * MINUTE / 20, ok=False, status_code=503) for n in range(12)),
    )
    found = ask(*[request(company_id=f"c-{n % 2 * 2 + 1}") for n in range(12)])
    delays = [one["optimal_delay"] for one in found]
    assert min(np.diff(delays)) >= PROBE_SECONDS - 1
    held = [one for one in found if one["propensity"] is None]
    assert found[0] not in held
    assert len(held) > 3
    for one in held:
        assert "12 of 12 other syncs of quickbooks failed in the last 15 minutes" in one["reason"]
        assert "only one probe a minute" in one["reason"]


def test_exploration_happens_as_often_as_it_says(asked: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_RETRY_EXPLORATION", "0.3")
    get_settings.cache_clear()
    found = ask(*[request(company_id=f"x-{n}") for n in range(300)])
    share = np.mean([one["explored"] for one in found])
    assert 0.2 < share < 0.4
    drawn = next(one for one in found if one["explored"])
    assert "drawn at random" in drawn["reason"]
    assert len({one["propensity"] for one in found}) == 2


def test_answers_see_the_features_that_training_sees(asked: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise P4: events through the store, one way to a feature table and the other to an answer."""
    from datetime import timedelta

    import pandas as pd

    from crewflow_assets.retry_strategy.features import CONTEXT
    from crewflow_assets.retry_strategy.table import ATTEMPT_COLUMNS, RETRY_COLUMNS, as_table

    random = np.random.default_rng(4)
    syncs = [
        attempt(
            n,
            str(random.choice(["c-1", "c-2", "c-3"])),
            NOON - float(random.uniform(0, 200)) * MINUTE,
            ok=bool(random.random() < 0.6),
            latency_ms=float(random.uniform(200, 900)),
            calls_left=int(random.integers(50, 100)),
            calls_limit=100,
        )
        for n in range(60)
    ]
    post(*syncs)
    for back in (0, 13, 47):
        failed_at = NOON - back * MINUTE
        delay = 200.0
        retry = {
            "event_id": "r-1", "company_id": "c-1", "occurred_at": failed_at + timedelta(seconds=delay),
            "integration_id": "i-3", "system": "quickbooks", "call_id": "a", "error_class": "server_error",
            "error_message": "Service Unavailable", "status_code": 503, "attempt": 1, "delay_seconds": delay,
            "ok": True, "write": False, "idempotent": True, "retry_after_seconds": 20.0, "latency_ms": 950.0,
        }  # fmt: skip
        rows = [{**one.payload, "company_id": one.company_id, "occurred_at": one.occurred_at} for one in syncs]
        trained = as_table(
            pd.DataFrame([retry]).reindex(columns=list(RETRY_COLUMNS)),
            pd.DataFrame(rows).reindex(columns=list(ATTEMPT_COLUMNS)),
        )
        handed: list[Failures] = []
        plan: Any = vars(answering)["plan"]

        def spy(*given: Any, kept: Any = plan, into: Any = handed, **more: Any) -> Any:
            into.append(given[1])
            return kept(*given, **more)

        monkeypatch.setattr(answering, "plan", spy)
        _recent.cache_clear()
        asked_at = request(
            latency_ms=950.0, retry_after_seconds=20.0, time_of_day=failed_at.hour, idempotency_key=None,
            api_latency_24h=float(trained["latency_24h"].iloc[0]),
        )  # fmt: skip
        ask(asked_at, at=failed_at)
        monkeypatch.setattr(answering, "plan", plan)
        np.testing.assert_allclose(
            context_rows(handed[0])[0], trained[list(CONTEXT)].to_numpy(np.float32)[0], rtol=1e-6
        )
