"""The spec of the integration health forecast."""

from crewflow_assets.integration_health.contract import HealthForecastRequest, HealthForecastResponse
from crewflow_assets.integration_health.outcomes import ForecastOutcomes
from crewflow_assets.spec import Expectation, Gate, ModelCode, ModelSpec


def _code() -> ModelCode:
    from crewflow_assets.integration_health.lifecycle import IntegrationHealthForecast  # loads pandas

    return IntegrationHealthForecast()


INTEGRATION_HEALTH_FORECAST = ModelSpec(
    name="integration_health_forecast",
    question="What will the 0–100 health score of this integration be in seven days?",
    code=_code,
    request_type=HealthForecastRequest,
    response_type=HealthForecastResponse,
    example={
        "integration_id": "i-3",
        "current_metrics": {
            "successful_syncs": 712,
            "total_syncs": 720,
            "avg_latency_ms": 640.0,
            "error_count": 8,
            "conflicts": 3,
            "duplicates": 1,
        },
    },
    event_kinds=("sync_attempt", "conflict_decision"),
    expectations=(
        Expectation("ExpectTableRowCountToBeBetween", {"min_value": 300}),
        Expectation("ExpectColumnValuesToNotBeNull", {"column": "entity"}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "label", "min_value": 0, "max_value": 100}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "now", "min_value": 0, "max_value": 100}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "fold", "value_set": ["train", "test"]}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "known_days", "min_value": 7, "max_value": 30}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "errors", "min_value": 0}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "error_share", "min_value": 0, "max_value": 1}),
    ),
    gates=(
        Gate("mae_gain", "low", ">", 0.0),
        Gate("coverage_80", "value", ">=", 0.72),
        Gate("coverage_80", "value", "<=", 0.9),
    ),
    headline=("mae", "unseen_mae", "coverage_80", "unseen_coverage_80", "trend_right"),
    tolerance=0.02,
    retrain_cron="0 6 * * 1",
    monitored=ForecastOutcomes,
    limits=(
        "It knows what was counted, not why: an outage that begins tomorrow, or a grant that ends, is in the width "
        "of the interval at best.",
        "Conflicts and duplicates are those of the whole company, since the events about them name no integration.",
        "From the metrics of a request alone it is hardly better than the present score.",
        "Trend and interval are of the PRD's score: an integration slower than a second on average has no points for "
        "latency to lose, and one with more than a hundred errors none for these.",
        "The 80 % of the interval hold over all integrations together, not for each by itself.",
    ),
    packages=("pandas", "scikit-learn", "xgboost"),
)
