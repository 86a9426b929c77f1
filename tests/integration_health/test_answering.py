"""Answers: from the stored days, from a request's metrics, from both."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.integration_health.answering import answer, trend_of
from crewflow_assets.integration_health.contract import (
    CurrentMetrics,
    HealthForecastRequest,
    HealthForecastResponse,
)
from crewflow_assets.integration_health.features import feature_rows
from crewflow_assets.integration_health.model import HealthPredictor
from crewflow_assets.integration_health.model_spec import INTEGRATION_HEALTH_FORECAST
from crewflow_assets.integration_health.recent import recent
from crewflow_assets.integration_health.table import feature_table, rows_of_table
from tests.integration_health.test_daily import decision
from tests.integration_health.test_model import fitted
from tests.sync_health.watching import COMPANY, DAY, NOON, add_companies, attempt, post
from tests.worlds import write_lake

METRICS = {
    "successful_syncs": 38,
    "total_syncs": 40,
    "avg_latency_ms": 100.0,
    "error_count": 2,
    "conflicts": 0,
    "duplicates": 0,
}


@pytest.fixture
def stored(sqlite_store: Engine) -> HealthPredictor:
    """The lake holds 40 days of i-3, the last of them yesterday, with an error each fifth day."""
    add_companies(COMPANY, "c-2")
    post(*(attempt(NOON - number * DAY, ok=number % 5 > 0, latency_ms=100.0) for number in range(1, 41)))
    lake()
    return fitted()


def lake(at: datetime = NOON + 60 * DAY, kind: str = "sync_attempt") -> None:
    with clock.fixed(at):
        write_lake(kind)


def ask(
    predictor: HealthPredictor,
    *,
    company: str | None = COMPANY,
    integration: str = "i-3",
    at: datetime = NOON,
    **metrics: float,
) -> HealthForecastResponse:
    given = CurrentMetrics.model_validate(METRICS | metrics) if metrics else None
    with clock.fixed(at):
        [found] = answer(
            predictor,
            [HealthForecastRequest(company_id=company, integration_id=integration, current_metrics=given)],
        )
    return HealthForecastResponse.model_validate(
        found.fields | {"prediction_id": "p", "model_version": "1.0", "variant": "champion"}
    )


def test_the_forecast_starts_from_the_days_until_yesterday(stored: HealthPredictor) -> None:
    found = ask(stored)
    assert found.as_of == (NOON - DAY).date()
    assert found.current_score == pytest.approx((80 + 90 + 94 + 100) / 4)
    assert found.interval_80[0] <= found.score_7d <= found.interval_80[1]
    assert found.recommendations[0].startswith("Failures take 6.5 of 100 points: 6 errors in 30 syncs")


def test_serving_sees_what_training_saw_of_the_same_day(stored: HealthPredictor) -> None:
    post(*(attempt(NOON + number * DAY, latency_ms=90.0) for number in range(10)))
    lake()
    table = feature_table(NOON + 10 * DAY)
    past = table[table["day"] == (NOON - DAY).date().isoformat()]
    kept = recent(NOON)
    assert kept is not None
    window = kept.window((COMPANY, "i-3"))
    assert window is not None
    assert (feature_rows(window[None]) == rows_of_table(past)[0]).all()


def test_a_day_that_is_not_over_does_not_count_and_a_new_one_does(stored: HealthPredictor) -> None:
    before = ask(stored)
    post(*(attempt(NOON + timedelta(minutes=n), ok=False, latency_ms=100.0) for n in range(9)))
    lake()
    assert ask(stored) == before
    after = ask(stored, at=NOON + DAY)
    assert after.as_of == NOON.date()
    assert after.score_7d < before.score_7d


def test_a_day_counts_once_the_lake_has_taken_it_up_after_its_end(
    stored: HealthPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came in after the lake took it up last would be missing."""
    monkeypatch.setattr("crewflow_assets.integration_health.recent.LOOK_EVERY_SECONDS", 1e-9)
    midnight = NOON + DAY / 2
    post(attempt(NOON, latency_ms=100.0), decision(NOON, "x-1", "hours_mismatch"))
    kinds = ("sync_attempt", "conflict_decision")
    for kind in kinds:
        lake(midnight - timedelta(minutes=30), kind)
    seen = [ask(stored, at=midnight).as_of]
    for kind in kinds:
        lake(midnight, kind)
        seen.append(ask(stored, at=midnight).as_of)
    assert seen == [(NOON - DAY).date(), (NOON - DAY).date(), NOON.date()]


def test_metrics_of_an_unknown_integration_are_enough(sqlite_store: Engine) -> None:
    alone = ask(fitted(), company=None, integration="i-99", error_count=2)
    assert alone.as_of is None
    assert alone.current_score == pytest.approx((95 + 90 + 98 + 100) / 4)


def test_metrics_move_the_stored_forecast_by_what_stays_of_a_window(stored: HealthPredictor) -> None:
    base = ask(stored)
    same = ask(stored, successful_syncs=24, total_syncs=30, avg_latency_ms=100.0, error_count=6)
    assert same.score_7d == pytest.approx(base.score_7d, abs=0.01)
    worse = ask(stored, successful_syncs=24, total_syncs=30, avg_latency_ms=100.0, error_count=46)
    assert worse.current_score == pytest.approx(base.current_score - 10)
    assert worse.score_7d == pytest.approx(base.score_7d - 10 * 23 / 30, abs=0.01)
    assert worse.as_of == base.as_of


@given(errors=st.integers(0, 40), latency=st.floats(0, 1e6), conflicts=st.integers(0, 10**9))
def test_any_metrics_are_answered_within_the_scale(errors: int, latency: float, conflicts: int) -> None:
    request = HealthForecastRequest(
        integration_id="i-1",
        current_metrics=CurrentMetrics.model_validate(
            METRICS | {"error_count": errors, "avg_latency_ms": latency, "conflicts": conflicts}
        ),
    )
    [found] = answer(fitted(), [request])
    assert 0 <= found.fields["interval_80"][0] <= found.fields["score_7d"] <= found.fields["interval_80"][1] <= 100


def test_without_days_and_metrics_the_field_and_the_remedy_are_named(stored: HealthPredictor) -> None:
    known = HealthForecastRequest(company_id=COMPANY, integration_id="i-3")
    with clock.fixed(NOON), pytest.raises(InvalidInputError) as raised:
        answer(
            stored,
            [known, known.model_copy(update={"company_id": "c-2"}), HealthForecastRequest(integration_id="i-3")],
        )
    assert [problem.loc for problem in raised.value.problems] == [(1, "integration_id"), (2, "company_id")]
    assert "'c-2' has no sync of 'i-3'" in raised.value.problems[0].msg


def test_days_that_ended_long_ago_say_nothing(stored: HealthPredictor) -> None:
    with pytest.raises(InvalidInputError):
        ask(stored, at=NOON + 10 * DAY)
    assert ask(stored, at=NOON + 10 * DAY, error_count=2).as_of is None


def test_a_batch_is_answered_as_one_by_one(stored: HealthPredictor) -> None:
    one = HealthForecastRequest(company_id=COMPANY, integration_id="i-3")
    other = HealthForecastRequest(integration_id="i-9", current_metrics=CurrentMetrics.model_validate(METRICS))
    with clock.fixed(NOON):
        together = answer(stored, [other, one, other])
        assert [found.fields for found in together] == [
            answer(stored, [each])[0].fields for each in (other, one, other)
        ]


def test_the_trend_needs_the_whole_interval_and_a_point() -> None:
    assert trend_of(71, 75, 80, 70) == "improving"
    assert trend_of(69, 75, 80, 70) == "stable"
    assert trend_of(50, 55, 60, 70) == "declining"
    assert trend_of(70.1, 70.2, 70.3, 70) == "stable"


def test_the_example_of_the_spec_is_a_request() -> None:
    spec = INTEGRATION_HEALTH_FORECAST
    assert answer(fitted(), [HealthForecastRequest.model_validate(dict(spec.example))])
    assert spec.limits
