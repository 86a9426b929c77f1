"""The spec of the retry strategy."""

from crewflow_assets.retry_strategy.contract import RetryRequest, RetryResponse
from crewflow_assets.retry_strategy.outcomes import RetryOutcomes
from crewflow_assets.retry_strategy.patterns import unexplained_since
from crewflow_assets.spec import EventTrigger, Expectation, Gate, ModelCode, ModelSpec


def _code() -> ModelCode:
    from crewflow_assets.retry_strategy.lifecycle import RetryStrategy  # loads pandas

    return RetryStrategy()


RETRY_STRATEGY = ModelSpec(
    name="retry_strategy",
    question="A call to an accounting system failed: retry it, when, how often, or what instead?",
    code=_code,
    request_type=RetryRequest,
    response_type=RetryResponse,
    example={
        "integration_id": "i-3",
        "integration_type": "quickbooks",
        "error_type": "rate_limit",
        "error_message": "message=ThrottleExceeded; errorCode=003001; statusCode=429",
        "previous_attempts": 1,
        "time_of_day": 14,
        "api_latency_24h": 812.0,
    },
    event_kinds=("retry_outcome", "sync_attempt"),
    expectations=(
        Expectation("ExpectTableRowCountToBeBetween", {"min_value": 500}),
        Expectation("ExpectColumnValuesToNotBeNull", {"column": "entity"}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "label", "value_set": [0, 1]}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "fold", "value_set": ["train", "test"]}),
        Expectation("ExpectColumnMeanToBeBetween", {"column": "label", "min_value": 0.01, "max_value": 0.99}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "attempts", "min_value": 1}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "delay_seconds", "min_value": 0}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "propensity", "min_value": 0, "max_value": 1}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "hour", "min_value": 0, "max_value": 23}),
    ),
    gates=(
        Gate("brier_gain", "low", ">", 0.0),
        Gate("ece_beyond_noise", "value", "<=", 0.05),
    ),
    headline=("pr_auc", "brier", "ece", "log_loss", "plan_value"),
    tolerance=0.005,
    retrain_cron="0 5 * * 1",
    triggers=(
        EventTrigger(
            "new_error_patterns",
            unexplained_since,
            more_than=0,
            window_days=30,
            noun="messages that no class explains",
        ),
    ),
    monitored=RetryOutcomes,
    limits=(
        "It learned from retries of the simulated world, whose causes and recoveries are assumptions in part; what "
        "real APIs do after a failure is known here from public logs of fetches alone (docs/retry.md).",
        "What it never overrides are the rules: authorisation and validation errors are not retried, Retry-After is "
        "obeyed, and a write of unknown outcome is looked up.",
        "An error that no class explains is treated like its nearest neighbour, or as unknown.",
        "Where it says not to retry, nobody finds out whether a retry would have succeeded, unless one was drawn.",
    ),
    packages=("pandas", "scikit-learn", "xgboost"),
)
