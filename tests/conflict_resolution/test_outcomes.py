"""What becomes of recommended resolutions: of which conflict a decision says something, and of which not."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.conflict_resolution.standing import inputs_of
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.monitoring.outcomes import Outcome, outcomes
from crewflow_assets.store.database import reading
from tests.conflict_resolution.deciding import COMPANY, NOON, automatic, conflict, decide, post, report, undo
from tests.monitoring.logs import log, row

DAY = timedelta(days=1)


def recommended(conflict_id: str = "x-1", **inputs: Any) -> None:
    """Log the prediction p-1 as it was made of a conflict."""
    asked = inputs_of(conflict(conflict_id)) | {"company_id": COMPANY} | inputs
    output = {"recommended_resolution": {"action": "use_crewflow"}, "confidence": 0.97, "auto_resolve": True}
    log(row("p-1", "conflict_resolution", NOON, company_id=COMPANY, inputs=asked, output=output))


def found() -> dict[str, Outcome]:
    with reading() as session:
        known = outcomes(session, CONFLICT_RESOLUTION, NOON - DAY, NOON + DAY)
        return {one.prediction_id: one for one in known}


def test_a_persons_choice_judges_the_prediction_that_it_names(deciding: Engine) -> None:
    report()
    recommended()
    decide(prediction_id="p-1")
    assert (found()["p-1"].right, found()["p-1"].basis, found()["p-1"].weight) == (False, "decided", 1.0)


def test_an_automatic_decision_is_judged_by_who_takes_it_back_whatever_the_values_become(deciding: Engine) -> None:
    report()
    recommended()
    automatic()
    undo()
    with clock.fixed(NOON + DAY):
        report(values={"crewflow": 9.0, "external": 7.5}, system="sage")
    assert (found()["p-1"].right, found()["p-1"].basis, found()["p-1"].weight) == (False, "reviewed", 0.0)


OTHERS = [
    {"conflict_type": "duplicate"},
    {"worker_id": "w-8"},
    {"project_id": "p-5"},
    {"timecard_date": "2026-02-28"},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
@pytest.mark.parametrize("how", ["resolve", "automatic", "event"])
def test_a_decision_on_one_conflict_judges_no_prediction_of_another(
    deciding: Engine, other: dict[str, str], how: str
) -> None:
    report()
    recommended(**other)
    if how == "resolve":
        decide(prediction_id="p-1")
    elif how == "automatic":
        automatic()
        undo()
    else:
        said = {
            "conflict_id": "x-1",
            "conflict_type": "hours_mismatch",
            "resolution": "use_external",
            "decided_by": "dana",
            "prediction_id": "p-1",
        }
        post(
            EventIn(
                event_id="e-1",
                kind="conflict_decision",
                company_id=COMPANY,
                occurred_at=NOON + timedelta(hours=1),
                payload=said,
            )
        )
    assert found() == {}
