"""Taking many automatic decisions back at once."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.conflict_resolution import bulk
from crewflow_assets.conflict_resolution.bulk import Selection, undo_many
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.store.conflict_tables import Conflict
from tests.conflict_resolution.deciding import (
    COMPANY,
    add_companies,
    audit,
    automatic,
    commands,
    conflict,
    decide,
    deliver_all,
    post,
    report,
    resolutions,
    switch,
    undo,
    version,
)


def take_back(*, dry_run: bool = False, **chosen: Any) -> dict[str, Any]:
    return undo_many(Selection(**chosen), decided_by="sam", dry_run=dry_run)


def states() -> dict[str, str]:
    return {f"x-{n}": conflict(f"x-{n}").state for n in range(6)}


@pytest.fixture
def decided(deciding_everywhere: Engine) -> None:
    """Six automatic decisions, an hour apart from each other, the last two by version 1.4."""
    start = clock.now() - timedelta(hours=8)
    for number in range(6):
        with clock.fixed(start + timedelta(hours=number)):
            report(f"x-{number}")
            automatic(f"x-{number}", model_version="1.3" if number < 4 else "1.4")


def test_a_version_is_taken_back_as_each_would_be_alone(decided: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PART", 2)
    assert take_back(model_version="1.3", dry_run=True)["undone"] == 4
    assert set(states().values()) == {"resolved"}
    assert take_back(model_version="1.3") == {"undone": 4, "refused": [], "refused_in_all": 0, "dry_run": False}
    assert list(states().values()) == ["reopened"] * 4 + ["resolved"] * 2
    assert [(c.payload["value"], c.record_key[-3:]) for c in commands()[6:]] == [(7.5, f"x-{n}") for n in range(4)]
    assert [r.review for r in resolutions()] == ["overrode"] * 4 + [None] * 2
    undo("x-4")
    assert audit()[-1].action == audit()[-2].action == "conflict.undo"
    assert audit()[-1].before is not None
    assert set(audit()[-1].after or ()) == set(audit()[-2].after or ())
    assert take_back(model_version="1.3")["undone"] == 0


def test_a_time_and_a_company_bound_it(decided: None) -> None:
    add_companies("c-2")
    switch(company="c-2")
    report(company="c-2")
    automatic(company="c-2")
    now = clock.now()
    assert (
        take_back(decided_after=now - timedelta(minutes=350), decided_before=now - timedelta(hours=3))["undone"] == 3
    )
    assert take_back(model_version="1.3", company_id="c-2", conflict_type="hours_mismatch")["undone"] == 1
    assert take_back(model_version="1.3", company_id=COMPANY, conflict_type="duplicate")["undone"] == 0


def test_what_was_edited_confirmed_or_decided_again_stays(decided: None) -> None:
    deliver_all()
    post(version("external", "9", clock.now(), conflict_id="x-0"))
    decide("x-1", "use_crewflow")
    decide("x-2", "use_external")
    report("x-33", record_id="t-x-3")
    answer = take_back(model_version="1.3")
    assert answer["undone"] == 0
    assert {one["conflict_id"]: one["detail"] for one in answer["refused"]} == {
        "x-0": "the record was edited since",
        "x-1": "a person has confirmed it",
        "x-3": "the record is in conflict again since",
    }
    assert conflict("x-2").state == "resolved"


@pytest.mark.parametrize("chosen", [{}, {"company_id": COMPANY}, {"decided_before": clock.now()}])
def test_everything_at_once_has_to_be_meant(deciding: Engine, chosen: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="decided_after"):
        take_back(**chosen)


def test_an_end_before_the_beginning_is_refused(deciding: Engine) -> None:
    now = clock.now()
    with pytest.raises(InvalidInputError, match="lies after decided_before"):
        take_back(decided_after=now, decided_before=now - timedelta(hours=1))


def test_later_conflicts_of_a_record_are_found_by_its_index(sqlite_store: Engine) -> None:
    """By company and moment alone, every undo would look at all later conflicts of the company."""
    query = bulk._matching(Selection(model_version="1.3"), Conflict.id).where(*(~one for one in bulk._stays()))
    sql = query.compile(sqlite_store, compile_kwargs={"literal_binds": True})
    with sqlite_store.connect() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
    assert any("ix_conflicts_record" in step and "opened_at>" in step for step in plan), plan
