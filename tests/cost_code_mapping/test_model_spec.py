"""What the platform is told about cost-code mapping."""

from datetime import timedelta

from sqlalchemy import Engine

from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING, corrections_since
from crewflow_assets.store.database import reading, transaction
from tests.worlds import START, mapping_event, post, write_company


def test_corrections_are_counted_by_company_from_a_moment_on(store: Engine) -> None:
    with transaction() as session:
        for company in ("c-1", "c-2"):
            write_company(session, company)
        post(
            session,
            mapping_event("c-1", "16-100.L", "50100", START + timedelta(hours=1)),
            mapping_event("c-1", "16-100.L", "50200", START + timedelta(hours=2), action="correct"),
            mapping_event("c-1", "16-100.M", "50200", START + timedelta(hours=3), action="correct"),
            mapping_event("c-2", "16-100.M", "50200", START + timedelta(hours=3), action="correct"),
            mapping_event("c-2", "16-100.M", None, START + timedelta(hours=4)),
        )
    with reading() as session:
        assert corrections_since(session, START) == {"c-1": 2, "c-2": 1}
        assert corrections_since(session, START + timedelta(hours=3)) == {"c-1": 1, "c-2": 1}
        assert corrections_since(session, START + timedelta(hours=3, microseconds=1)) == {}


def test_the_headline_and_the_gates_name_figures_that_are_measured() -> None:
    measured = {"top1", "top5", "top1_gain", "ece", "auto_map_coverage", "auto_map_right"}
    assert {gate.figure for gate in COST_CODE_MAPPING.gates} | set(COST_CODE_MAPPING.headline) <= measured
