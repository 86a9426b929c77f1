"""The spec of sync health."""

from crewflow_assets.spec import EventTrigger, Expectation, Gate, ModelCode, ModelSpec
from crewflow_assets.sync_health.contract import SyncHealthRequest, SyncHealthResponse
from crewflow_assets.sync_health.newcomers import new_integrations
from crewflow_assets.sync_health.outcomes import SyncOutcomes


def _code() -> ModelCode:
    from crewflow_assets.sync_health.lifecycle import SyncHealth  # loads pandas

    return SyncHealth()


SYNC_HEALTH = ModelSpec(
    name="sync_health",
    question="Will this integration's next sync fail, and why?",
    code=_code,
    request_type=SyncHealthRequest,
    response_type=SyncHealthResponse,
    example={
        "integration_id": "i-3",
        "features": {
            "sync_attempts_24h": 24,
            "sync_failures_24h": 2,
            "avg_latency_24h": 2300.0,
            "rate_limit_hits_24h": 9,
            "network_latency": 41.0,
            "api_status": "degraded",
            "timestamp": "2026-03-02T14:00:00Z",
        },
    },
    event_kinds=("sync_attempt", "api_status"),
    expectations=(
        Expectation("ExpectTableRowCountToBeBetween", {"min_value": 1000}),
        Expectation("ExpectColumnValuesToNotBeNull", {"column": "entity"}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "label", "value_set": [0, 1]}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "fold", "value_set": ["train", "test"]}),
        Expectation("ExpectColumnMeanToBeBetween", {"column": "label", "min_value": 0.0001, "max_value": 0.9}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "failures_in_a_row", "min_value": 0}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "failure_share_7d", "min_value": 0, "max_value": 1}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "hours_since_attempt", "min_value": 0}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "headroom", "min_value": 0, "max_value": 1}),
    ),
    gates=(
        Gate("live_brier_gain", "low", ">", 0.0),
        Gate("live_ece", "value", "<=", 0.02),
    ),
    headline=("live_pr_auc", "onset_pr_auc", "live_brier", "live_ece", "alarm_precision"),
    tolerance=0.0005,
    retrain_cron="30 2 * * *",
    triggers=(
        EventTrigger(
            "new_integrations", new_integrations, more_than=0, window_days=30, noun="new integrations with data"
        ),
    ),
    monitored=SyncOutcomes,
    limits=(
        "It says mostly that trouble goes on: a first failure after successes is foreseen poorly, and only where "
        "neighbours on the same API failed minutes before.",
        "Accuracy says nothing here, since most syncs succeed; PR-AUC, Brier score and calibration do.",
        "Acting on it avoided no more simulated failures than the rule “as the last error”, with fewer alerts "
        "(docs/sync-prevention.md).",
        "With the eight features of a request alone, instead of the stored history, it is much weaker.",
        "An integration that has not synced for a day is scored and otherwise left alone.",
    ),
    packages=(
        *("pandas", "scikit-learn", "xgboost"),
        *("duckdb", "ibis-framework", "pyarrow", "pyarrow-hotfix", "sqlglot"),  # features from the store
    ),
)
