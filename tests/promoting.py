"""Promotions of the mapping model: proposed by training, and what became of them."""

from crewflow_assets import promotion, registry
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.promotion import Expected
from crewflow_assets.store.database import reading
from crewflow_assets.store.training_tables import Promotion

SPEC = COST_CODE_MAPPING


def train(label: str, present: int | None, why: str = "all gates met") -> Promotion | None:
    return promotion.propose(SPEC, label, why=why, run_id="run-1", instead_of=Expected(present))


def aliases() -> dict[str, int]:
    return registry.alias_numbers(SPEC)


def rows() -> list[Promotion]:
    with reading() as session:
        found = promotion.history(session, SPEC)
        session.expunge_all()
        return found


def barred(number: int) -> str | None:
    with reading() as session:
        return promotion.barred(session, SPEC, number)
