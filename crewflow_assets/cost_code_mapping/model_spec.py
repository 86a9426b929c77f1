"""The spec of cost-code mapping."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.cost_code_mapping.contract import MappingRequest, MappingResponse
from crewflow_assets.cost_code_mapping.outcomes import MappingOutcomes
from crewflow_assets.spec import EventTrigger, Expectation, Gate, ModelCode, ModelSpec
from crewflow_assets.store.tables import Event


def _code() -> ModelCode:
    from crewflow_assets.cost_code_mapping.lifecycle import CostCodeMapping  # loads pandas and sklearn

    return CostCodeMapping()


def corrections_since(session: Session, received_since: datetime, occurred_since: datetime) -> Mapping[str, int]:
    """Count the corrections that came in from a moment on and were made from another on, by company."""
    counted = (
        select(Event.company_id, func.count())
        .where(
            Event.kind == "mapping_decision",
            Event.received_at >= received_since,
            Event.occurred_at >= occurred_since,
            Event.payload["action"].as_string() == "correct",
        )
        .group_by(Event.company_id)
    )
    return dict(session.execute(counted).all())


COST_CODE_MAPPING = ModelSpec(
    name="cost_code_mapping",
    question="Which account of the customer's chart does this cost code, or project, belong to?",
    code=_code,
    request_type=MappingRequest,
    response_type=MappingResponse,
    example={
        "crewflow_cost_code": "ELEC-105",
        "cost_code_name": "Rough Electrical",
        "company_industry": "electrical",
        "target_system": "quickbooks",
        "target_accounts": [
            {"code": "50100", "name": "Electrical Labor", "type": "Cost of Goods Sold"},
            {"code": "50200", "name": "Electrical Materials", "type": "Cost of Goods Sold"},
            {"code": "50300", "name": "Subcontractors", "type": "Cost of Goods Sold"},
            {"code": "61000", "name": "Office Supplies", "type": "Expense"},
        ],
    },
    event_kinds=("mapping_decision",),
    expectations=(
        Expectation("ExpectTableRowCountToBeBetween", {"min_value": 500}),
        Expectation("ExpectColumnValuesToNotBeNull", {"column": "company_id"}),
        Expectation("ExpectColumnValuesToNotBeNull", {"column": "candidate"}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "label", "value_set": [0, 1]}),
        Expectation("ExpectColumnValuesToBeInSet", {"column": "fold", "value_set": ["train", "test"]}),
        Expectation(
            "ExpectColumnValuesToBeBetween", {"column": "name_similarity", "min_value": 0, "max_value": 1.01}
        ),
        Expectation("ExpectColumnValuesToBeBetween", {"column": "n_history", "min_value": 0}),
    ),
    gates=(
        Gate("top1_gain", "low", ">", 0.0),
        Gate("ece", "value", "<=", 0.08),  # a dozen test companies alone make about .03 of it
        Gate("auto_map_right", "low", ">=", 0.93, or_none=True),
    ),
    headline=("top1", "top5", "ece", "auto_map_coverage", "auto_map_right"),
    tolerance=0.01,
    retrain_cron="0 3 * * 0",
    triggers=(EventTrigger("corrections", corrections_since, more_than=20, window_days=30),),
    monitored=MappingOutcomes,
    limits=(
        "A code's name seldom says where its company books it: the first suggestions for a new company are guesses.",
        "Accounts are compared by their English names; charts in other languages were not tried.",
        "Right means that a person of the company chose the account; people err, and are swayed by suggestions.",
        "At the demo's scale nothing is sure enough to be automatic; every suggestion goes to a person.",
        "What a company decided never shows in another's reasons, but moves its ranking through fitted weights.",
    ),
    packages=("onnxruntime", "pandas", "safetensors", "scikit-learn", "tokenizers"),
)
