"""Decisions on conflicts: automatic and a person's, undo, edits and refusals, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.standing import inputs_of
from crewflow_assets.errors import ConflictError, InvalidInputError, NotFoundError
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Event
from tests.conflict_resolution.deciding import (
    add_companies,
    audit,
    automatic,
    commands,
    conflict,
    decide,
    report,
    resolutions,
    sets,
    switch,
    undo,
)


def events(kind: str = "conflict_decision") -> list[Event]:
    with reading() as session:
        return [event for event in session.query(Event).order_by(Event.id) if event.kind == kind]


def test_an_automatic_decision_stands_with_event_audit_row_and_command(deciding_everywhere: Engine) -> None:
    report()
    answer, why = automatic()
    assert why is None
    assert (answer["state"], answer["resolution"]) == ("resolved", {"action": "use_crewflow", "value": 8.0})
    assert (answer["method"], answer["model_version"], answer["confidence"]) == ("model", "1.3", 0.97)
    [command] = commands()
    assert command.record_key == "record/timecard/t-x-1"
    assert sets() == [("external", 8.0, "7")]
    entry = audit()[-1]
    assert (entry.action, entry.method, entry.model_version, entry.confidence) == (
        "conflict.resolve",
        "model",
        "1.3",
        0.97,
    )
    assert entry.after is not None
    assert entry.after["inputs"] == inputs_of(conflict())
    assert (entry.after["crewflow_value"], entry.after["external_value"]) == (8.0, 7.5)
    [event] = events()
    assert (event.event_id, event.payload["method"], event.payload["value"]) == (answer["decision_id"], "model", 8.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"auto_resolve": False, "confidence": 0.8}, "80% sure of use_crewflow"),
        ({"action": "manual"}, "sure of manual"),
        ({"inputs": {}}, "changed while the model was asked"),
    ],
)
def test_what_is_not_sure_goes_to_a_person(deciding: Engine, changes: dict[str, Any], reason: str) -> None:
    report()
    answer, why = automatic(**changes)
    assert why is not None
    assert reason in why
    assert (answer["state"], answer["resolution"]) == ("open", None)
    assert commands() == []


@pytest.mark.parametrize("mode", ["off", "suggest"])
def test_nothing_is_automatic_where_nobody_allowed_it(deciding: Engine, mode: str) -> None:
    switch(mode)
    report()
    assert f"is set to '{mode}'" in str(automatic()[1])
    report("x-2", conflict_type="duplicate")
    assert "is set to 'suggest'" in str(automatic("x-2")[1])


def test_the_daily_cap_ends_automatic_decisions_for_a_day(deciding: Engine) -> None:
    switch(daily_cap=2)
    for number in range(4):
        report(f"x-{number}")
    assert [automatic(f"x-{n}")[1] is None for n in range(3)] == [True, True, False]
    with clock.fixed(clock.now() + timedelta(days=1, minutes=1)):
        assert automatic("x-3")[1] is None


def test_a_withheld_decision_goes_blind_to_a_person_whose_choice_judges_it(
    deciding: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0.5")
    get_settings.cache_clear()
    for number in range(20):
        report(f"x-{number}")
        automatic(f"x-{number}")
    withheld = [r for r in resolutions() if r.state == "withheld"]
    assert 3 <= len(withheld) <= 17
    assert len(commands()) == 20 - len(withheld)
    [blind] = [f"x-{n}" for n in range(20) if conflict(f"x-{n}").id == withheld[0].conflict]
    assert (conflict(blind).blind, conflict(blind).state) == (True, "open")
    assert automatic(blind)[0]["resolution"] is None
    decide(blind, "use_external")
    [judged] = [r for r in resolutions() if r.id == withheld[0].id]
    assert (judged.review, judged.reviewed_by) == ("overrode", "dana")
    assert (events()[-1].payload["blind"], events()[-1].payload["propensity"]) == (True, 0.5)


def test_a_person_overrides_the_model_and_both_sides_are_told(deciding_everywhere: Engine) -> None:
    report()
    automatic()
    answer = decide("x-1", "use_external")
    assert (answer["method"], answer["resolution"]["value"]) == ("person", 7.5)
    assert sets() == [("external", 8.0, "7"), ("crewflow", 7.5, "3"), ("external", 7.5, "7")]
    assert commands()[2].payload["follows"] == commands()[0].idempotency_key
    assert [(r.state, r.review) for r in resolutions()] == [("superseded", "overrode"), ("in_force", None)]


def test_agreeing_confirms_the_model_once(deciding: Engine) -> None:
    report()
    automatic()
    decide("x-1", "use_crewflow")
    decide("x-1", "use_crewflow", by="sam")
    [resolution] = resolutions()
    assert (resolution.review, resolution.reviewed_by, len(commands())) == ("agreed", "dana", 1)
    assert [event.payload["method"] for event in events()] == ["model", "person"]


def test_nothing_is_decided_against_a_person(deciding: Engine) -> None:
    report(record_id="t-1")
    decide("x-1", "use_external")
    with pytest.raises(ConflictError, match="decided by 'dana' already"):
        automatic()
    with pytest.raises(ConflictError, match="undo that first"):
        decide("x-1", "use_crewflow", by="sam")
    report("x-2", record_id="t-1")
    assert "dana decided use_external for this record before" in str(automatic("x-2")[1])
    assert automatic("x-2", action="use_external")[1] is None


def test_a_third_value_is_told_to_both_sides_and_none_to_nobody(deciding: Engine) -> None:
    report()
    decide("x-1", "manual", value=7.75)
    assert sets() == [("crewflow", 7.75, "3"), ("external", 7.75, "7")]
    report("x-2")
    decide("x-2", "manual")
    assert len(commands()) == 2
    with pytest.raises(InvalidInputError, match="contradicts use_external, whose value is"):
        decide("x-2", "use_external", value=9.0)


def test_an_undo_restores_the_losing_side_and_asks_a_person(deciding_everywhere: Engine) -> None:
    report()
    automatic()
    answer = undo()
    assert (answer["state"], answer["resolution"]) == ("reopened", None)
    assert sets() == [("external", 8.0, "7"), ("external", 7.5, "7")]
    assert audit()[-1].action == "conflict.undo"
    assert events()[-1].payload["action"] == "undo"
    assert [(r.state, r.review) for r in resolutions()] == [("undone", "overrode")]
    with pytest.raises(ConflictError, match="taken back by sam"):
        undo()
    assert "it was re-opened" in str(automatic()[1])


def test_reporting_again_changes_nothing_and_new_values_refresh_what_is_open(deciding: Engine) -> None:
    report()
    report()
    assert len(events("conflict")) == 1
    assert report(values={"crewflow": 8.0, "external": 6.0})["external_value"] == 6.0
    with pytest.raises(ConflictError, match="undecided conflict 'x-1'"):
        report("x-2", record_id="t-x-1")
    with pytest.raises(ConflictError, match="another record"):
        report(record_id="t-7")
    decide()
    with pytest.raises(ConflictError, match="is resolved"):
        report()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"values": {"crewflow": 8.0}}, "values"),
        ({"values": {"crewflow": 8.0, "external": 8.0}}, "nothing contradicts"),
        ({"last_sync_timestamp": "2199-01-01T00:00:00Z"}, "later than the report itself"),
        ({"values": {"crewflow": "8h", "external": 8.0}}, "needs hours"),
        ({"conflict_type": "weather"}, "hours_mismatch"),
    ],
)
def test_what_is_no_conflict_is_refused(deciding: Engine, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        report(**changes)
    assert field in str([(problem.loc, problem.msg) for problem in caught.value.problems])
    with pytest.raises(NotFoundError):
        decide()


def test_decided_by_many_at_once_one_stands(deciding_everywhere: Engine) -> None:
    report()
    choices = ["use_crewflow", "use_external", "manual"] * 3

    def choose(number: int) -> str:
        try:
            return str(decide("x-1", choices[number], by=f"u-{number}")["decision_id"])
        except ConflictError:
            return "409"

    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(choose, range(9)))
    stood = {answer for answer in answers if answer != "409"}
    assert stood == {conflict().decision_id}
    assert [r.state for r in resolutions()] == ["in_force"]
    assert len(audit()) == 2


def test_undone_by_many_at_once_the_losing_side_is_told_once(deciding_everywhere: Engine) -> None:
    report()
    automatic()

    def take_back(number: int) -> bool:
        try:
            undo(by=f"u-{number}")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take_back, range(8))) == 1
    assert len(commands()) == 2


def test_companies_do_not_touch_each_other(deciding: Engine) -> None:
    add_companies("c-2")
    report()
    report(company="c-2")
    decide()
    assert conflict(company="c-2").state == "open"
