"""The spec of conflict resolution."""

from crewflow_assets.conflict_resolution.contract import ConflictRequest, ConflictResponse
from crewflow_assets.conflict_resolution.metrics import retraining_asked
from crewflow_assets.conflict_resolution.outcomes import ConflictOutcomes
from crewflow_assets.spec import EventTrigger, Expectation, Gate, ModelCode, ModelSpec


def _code() -> ModelCode:
    from crewflow_assets.conflict_resolution.lifecycle import ConflictResolution  # loads pandas

    return ConflictResolution()


CONFLICT_RESOLUTION = ModelSpec(
    name="conflict_resolution",
    question="CrewFlow and the accounting system hold different values of one timecard: which stands?",
    code=_code,
    request_type=ConflictRequest,
    response_type=ConflictResponse,
    example={
        "conflict_type": "hours_mismatch",
        "crewflow_value": 8.0,
        "external_value": 7.5,
        "company_id": "c-17",
        "worker_id": "w-9",
        "project_id": "p-4",
        "timecard_date": "2025-10-15",
        "last_sync_timestamp": "2025-10-16T06:00:00Z",
    },
    event_kinds=("conflict", "conflict_decision", "record_version"),
    expectations=(
        Expectation("ExpectTableRowCountToBeBetween", {"min_value": 200}),
        Expectation("ExpectColumnValuesToNotBeNull", {"column": "company_id"}),
        Expectation("ExpectCompoundColumnsToBeUnique", {"column_list": ["company_id", "conflict_id", "opened_at"]}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "label", "value_set": [0, 1, 2]}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "fold", "value_set": ["train", "test"]}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "hours_since_sync", "min_value": 0, "mostly": 0.99}),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "weekday", "min_value": 0, "max_value": 6}),
        Expectation(
            "ExpectColumnValuesToBeBetween", {"column": "crewflow_reliability", "min_value": 0, "max_value": 1}
        ),
    ),
    gates=(
        Gate("accuracy_gain", "low", ">", 0.0),
        Gate("ece", "value", "<=", 0.06),
        Gate("auto_right", "low", ">=", 0.9, or_none=True),
    ),
    headline=("accuracy", "ece", "auto_coverage", "auto_right"),
    tolerance=0.01,
    retrain_cron="0 4 * * 1",
    triggers=(
        EventTrigger(
            "accuracy", retraining_asked, more_than=0, window_days=30, noun="alarms of accuracy below 85 %, or stops,"
        ),
    ),
    monitored=ConflictOutcomes,
    limits=(
        "It foresees what people decide, not what is true: where people of a company err alike, it errs with them.",
        "Of timecards alone is anything known here; other records, and types it was not trained on, go to a person.",
        "The automatic share at the simulated scale rests on an assumption about how often people err that was set "
        "after seeing that nothing was automatic; it is no evidence for a share on real data (docs/conflicts.md).",
        "Resolving by itself is off until someone switches it on for a company and a type.",
        "A company without past decisions gets the habits of others, and nearly always a person.",
    ),
    packages=("pandas", "scikit-learn", "xgboost"),
)
