"""What the platform is told about cost-code mapping."""

from datetime import timedelta

from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING, corrections_since
from crewflow_assets.store.database import reading, transaction
from tests.worlds import START, mapping_event, post, write_company


def test_corrections_are_counted_by_company_from_the_moment_on_when_they_came_in(store: Engine) -> None:
    with transaction() as session:
        for company in ("c-1", "c-2"):
            write_company(session, company)
        for hours, company, code, target, action in (
            (1, "c-1", "16-100.L", "50100", "accept"),
            (2, "c-1", "16-100.L", "50200", "correct"),
            (3, "c-1", "16-100.M", "50200", "correct"),
            (3, "c-2", "16-100.M", "50200", "correct"),
            (4, "c-2", "16-100.M", None, "undo"),
        ):
            at = START + timedelta(hours=hours)
            with clock.fixed(at):
                post(session, mapping_event(company, code, target, at - timedelta(minutes=59), action=action))
    with reading() as session:
        assert corrections_since(session, START, START) == {"c-1": 2, "c-2": 1}
        assert corrections_since(session, START + timedelta(hours=3), START) == {"c-1": 1, "c-2": 1}
        assert corrections_since(session, START + timedelta(hours=3, microseconds=1), START) == {}


def test_the_headline_and_the_gates_name_figures_that_are_measured() -> None:
    measured = {"top1", "top5", "top1_gain", "ece", "auto_map_coverage", "auto_map_right"}
    assert {gate.figure for gate in COST_CODE_MAPPING.gates} | set(COST_CODE_MAPPING.headline) <= measured
