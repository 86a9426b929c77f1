"""Recommendations are sentences whose numbers are true."""

import re

from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.integration_health.contract import CurrentMetrics, HealthForecastResponse
from crewflow_assets.integration_health.recommendations import recommendations
from crewflow_assets.integration_health.score import Metrics, score_of


def test_the_costliest_comes_first_and_names_its_cause() -> None:
    metrics = Metrics(720, 690, 640.0, 30, 3, 1)
    slow, failing, data = recommendations(metrics, {"auth": 20, "rate_limit": 4, "validation": 0})
    assert slow.startswith("Slow answers take 16.0 of 100 points: 640 ms on average")
    assert failing == (
        "Failures take 8.5 of 100 points: 30 errors in 720 syncs of the last 30 days. 20 of them were refused for "
        "authorisation: sign in again to the accounting system."
    )
    assert data.startswith("Data quality takes 1.0 of 100 points: 3 conflicts and 1 duplicate in")


def test_the_examples_of_the_contract_are_what_is_said() -> None:
    sent = {name: field.examples[0] for name, field in CurrentMetrics.model_fields.items() if field.examples}
    [shown] = HealthForecastResponse.model_fields["recommendations"].examples or []
    assert recommendations(Metrics(**sent))[: len(shown)] == shown


def test_a_healthy_integration_is_left_alone() -> None:
    assert recommendations(Metrics(720, 719, 30.0, 1, 0, 0)) == []


def test_beyond_a_second_ten_milliseconds_less_give_nothing_back_yet() -> None:
    [said] = recommendations(Metrics(720, 720, 1300.0, 0, 0, 0))
    assert said.endswith("once it is below 1,000 ms.")


@given(
    ok=st.integers(0, 500),
    errors=st.integers(0, 500),
    latency=st.floats(0, 2000),
    conflicts=st.integers(0, 200),
    duplicates=st.integers(0, 200),
)
def test_the_points_that_are_named_add_up_to_what_is_missing(
    ok: int, errors: int, latency: float, conflicts: int, duplicates: int
) -> None:
    metrics = Metrics(ok + errors, ok, latency, errors, conflicts, duplicates)
    overall = score_of(metrics).overall
    if overall is None:
        return
    named = [float(found) for said in recommendations(metrics) for found in re.findall(r"takes? ([\d.]+) of", said)]
    assert named == sorted(named, reverse=True)
    assert 0 <= 100 - overall - sum(named) + 0.3 < 3.6
