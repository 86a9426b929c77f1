"""What the forecast adds to an integration's health, and what is shown where it has nothing to say."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crewflow_assets.errors import NotReadyError
from crewflow_assets.integration_health.contract import HealthForecastRequest, HealthForecastResponse
from serving.problems import Problem
from serving.routes.integrations import FORECAST, IntegrationHealth, foreseen
from serving.runtime import Runtime

NOTHING: dict[str, Any] = {
    "trend": None,
    "predicted_7d_score": None,
    "predicted_7d_interval": None,
    "recommendations": [],
}
ANSWER = HealthForecastResponse(
    prediction_id="p-1",
    model_version="1.0",
    variant="champion",
    score_7d=91.4,
    interval_80=(86.0, 95.2),
    trend="stable",
    current_score=92.0,
    as_of=None,
    recommendations=["Slow answers take 16.0 of 100 points."],
)


def serving(answer: Any) -> Runtime:
    """Return a runtime whose forecast answers, or raises, what is given."""

    def singly(requests: list[HealthForecastRequest]) -> list[HealthForecastResponse]:
        assert [(one.company_id, one.integration_id) for one in requests] == [("c-17", "i-3")]
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    return cast(Runtime, SimpleNamespace(predictions={FORECAST: SimpleNamespace(singly=singly)}))


def test_the_forecast_is_shown_by_the_names_of_the_prd() -> None:
    found = foreseen(serving(ANSWER), "c-17", "i-3")
    assert found == {
        "trend": "stable",
        "predicted_7d_score": 91.4,
        "predicted_7d_interval": (86.0, 95.2),
        "recommendations": ["Slow answers take 16.0 of 100 points."],
    }
    assert set(found) <= set(IntegrationHealth.model_fields)


@pytest.mark.parametrize("reason", [NotReadyError("no version yet"), Problem(400, "no syncs")])
def test_without_a_version_or_syncs_there_is_nothing_to_show(reason: Exception) -> None:
    assert foreseen(serving(reason), "c-17", "i-3") == NOTHING


def test_a_service_of_another_model_shows_nothing() -> None:
    assert foreseen(cast(Runtime, SimpleNamespace(predictions={})), "c-17", "i-3") == NOTHING


def test_what_else_goes_wrong_is_not_hidden() -> None:
    with pytest.raises(Problem):
        foreseen(serving(Problem(403, "another company's data")), "c-17", "i-3")
