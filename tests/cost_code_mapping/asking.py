"""Questions to the mapping model about the codes of one company."""

from datetime import timedelta
from typing import Any

from crewflow_assets.cost_code_mapping.answering import answer
from crewflow_assets.cost_code_mapping.contract import MappingRequest
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import transaction
from tests.cost_code_mapping.deciding import COMPANY
from tests.worlds import COST_CODES, QUICKBOOKS, START, mapping_event, post, predictor

NAMES = {row.code: row.name for row in COST_CODES}
BY_WORDS = predictor(name_similarity=5.0, source_covered=2.0, threshold=None)


def request(code: str = "16-100.L", **changes: Any) -> MappingRequest:
    known = {
        "crewflow_cost_code": code,
        "cost_code_name": NAMES.get(code, "Rough Electrical Labor"),
        "company_industry": "electrical",
        "company_id": COMPANY,
        "target_system": QUICKBOOKS,
    }
    return MappingRequest.model_validate(known | changes)


def ask(code: str = "16-100.L", *, using: MappingPredictor = BY_WORDS, **changes: Any) -> Answer:
    [found] = answer(using, [request(code, **changes)])
    return found


def first(found: Answer) -> dict[str, Any]:
    suggestion: dict[str, Any] = found.fields["suggestions"][0]
    return suggestion


def map_by_event(code: str, target: str, hours: float = 1, **changes: Any) -> None:
    with transaction() as session:
        post(session, mapping_event(COMPANY, code, target, START + timedelta(hours=hours), **changes))
