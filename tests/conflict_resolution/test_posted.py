"""What comes from outside about conflicts: edits, posted decisions, and refused commands."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, InvalidInputError
from crewflow_assets.ingest.event_kinds import EventIn
from tests.conflict_resolution.deciding import (
    COMPANY,
    NOON,
    add_companies,
    automatic,
    commands,
    conflict,
    decide,
    deliver_all,
    post,
    refuse,
    report,
    resolutions,
    sets,
    told,
    undo,
    version,
)


def test_what_was_edited_since_cannot_be_undone(deciding: Engine) -> None:
    report()
    automatic()
    deliver_all()
    post(version("external", "9", clock.now()))
    assert conflict().state == "resolved"
    with pytest.raises(ConflictError, match="was edited since"):
        undo()
    assert len(commands()) == 1


def test_our_own_write_is_no_edit(deciding: Engine) -> None:
    report()
    automatic()
    deliver_all()
    [command] = commands()
    post(version("external", "8", clock.now(), command_id=command.idempotency_key, values={"hours": 8.0}))
    assert (conflict().edited_at, conflict().external_version) == (None, "8")
    undo()
    assert sets()[-1] == ("external", 7.5, "8")


@pytest.mark.parametrize(
    "hours",
    [True, 1e12, "", "x" * 301, 10**400, [8.0], None],
    ids=["flag", "large", "empty", "long", "huge", "list", "nothing"],
)
def test_what_can_be_no_value_is_an_edit_to_a_value_that_nobody_knows(deciding: Engine, hours: object) -> None:
    report()
    before = conflict().external_value
    post(version("external", "9", clock.now(), values={"hours": hours}))
    assert conflict().external_value == before
    assert conflict().edited_at is not None


def test_an_edit_of_something_else_leaves_the_decision(deciding: Engine) -> None:
    report()
    automatic()
    post(version("crewflow", "4", clock.now(), values={"hours": 8.0, "cost_code": "09-250"}))
    assert (conflict().state, conflict().crewflow_version, conflict().edited_at) == ("resolved", "4", None)
    undo()


def test_an_edit_before_delivery_reopens_with_what_is_now_known(deciding_everywhere: Engine) -> None:
    report()
    automatic()
    post(version("crewflow", "4", clock.now()))
    found = conflict()
    assert (found.state, found.crewflow_value, found.external_value) == ("reopened", 9.0, 8.0)
    assert found.reopened_reason == "the record was edited in CrewFlow (version 4)"
    assert [r.state for r in resolutions()] == ["overtaken"]
    decide("x-1", "use_crewflow")
    assert sets()[-1] == ("external", 9.0, "7")


def test_a_late_word_of_an_edit_before_the_decision_reopens(deciding: Engine) -> None:
    opened = clock.now() - timedelta(hours=2)
    with clock.fixed(opened):
        report()
    automatic()
    deliver_all()
    post(version("external", "9", opened + timedelta(hours=1), values={"note": "?"}))
    assert conflict().state == "reopened"
    with pytest.raises(ConflictError, match="report the conflict anew"):
        decide()
    report(values={"crewflow": 8.0, "external": 6.0}, external_version="9")
    assert decide()["resolution"]["value"] == 6.0


def test_a_late_word_of_an_edit_before_the_last_report_changes_nothing(deciding: Engine) -> None:
    """It once re-opened the conflict with its old value, while the command on the new version was taken."""
    opened = clock.now() - timedelta(hours=3)
    with clock.fixed(opened):
        report()
    with clock.fixed(opened + timedelta(hours=2)):
        report(values={"crewflow": 4.0, "external": 6.0}, crewflow_version="5")
    decide("x-1", "manual", value=9.25)
    post(version("crewflow", "4", opened + timedelta(hours=1), values={"hours": 4.0}))
    found = conflict()
    assert (found.state, found.crewflow_value, found.crewflow_version) == ("resolved", 4.0, "5")
    assert found.crewflow_command is not None


def test_edits_heard_in_the_wrong_order_leave_the_last_one(deciding: Engine) -> None:
    opened = clock.now() - timedelta(hours=3)
    with clock.fixed(opened):
        report()
    post(version("crewflow", "5", opened + timedelta(hours=2), values={"hours": 4.0}))
    post(version("crewflow", "4", opened + timedelta(hours=1), values={"hours": 9.0}))
    assert (conflict().crewflow_value, conflict().crewflow_version) == (4.0, "5")


def test_after_an_edit_of_a_carried_out_decision_an_older_one_changes_nothing(deciding: Engine) -> None:
    opened = clock.now() - timedelta(hours=3)
    with clock.fixed(opened):
        report()
    with clock.fixed(opened + timedelta(minutes=30)):
        decide()
        deliver_all()
    post(version("external", "9", opened + timedelta(hours=2), values={"hours": 6.0}))
    post(version("external", "8", opened + timedelta(minutes=10), values={"hours": 7.25}))
    assert (conflict().state, conflict().edited_at) == ("resolved", opened + timedelta(hours=2))


def test_a_refused_command_reopens_and_a_later_decision_is_left_alone(deciding_everywhere: Engine) -> None:
    report()
    automatic()
    first = commands()[0]
    refuse(first)
    found = conflict()
    assert (found.state, found.external_value) == ("reopened", 7.5)
    assert found.reopened_reason == "refused by the other side: the payroll period is closed"
    decide("x-1", "use_crewflow")
    refuse(first)
    assert conflict().state == "resolved"


def test_where_a_decision_and_its_undo_are_refused_the_side_holds_what_it_held(deciding: Engine) -> None:
    report()
    automatic()
    undo()
    refuse(commands()[0])
    refuse(commands()[1])
    assert (conflict().state, conflict().external_value) == ("reopened", 7.5)


def test_a_refused_undo_leaves_what_the_side_holds(deciding: Engine) -> None:
    report()
    automatic()
    deliver_all()
    undo()
    refuse(commands()[-1])
    assert (conflict().state, conflict().external_value) == ("reopened", 8.0)


def posted(kind: Any, payload: dict[str, Any], event_id: str, **changes: Any) -> EventIn:
    known = {
        "event_id": event_id,
        "kind": kind,
        "company_id": COMPANY,
        "occurred_at": clock.now(),
        "payload": payload,
    }
    return EventIn.model_validate(known | changes)


def test_posted_decisions_stand_without_telling_anybody(deciding: Engine) -> None:
    report()
    said = {"conflict_id": "x-1", "conflict_type": "hours_mismatch", "decided_by": "lee"}
    post(posted("conflict_decision", {**said, "resolution": "use_external", "method": "rule"}, "e-1"))
    assert (conflict().state, conflict().external_value, commands()) == ("resolved", 7.5, [])
    [(stands, method)] = [(one.id, one.method) for one in resolutions()]
    assert (conflict().decision_id, method) == (stands, "rule")
    post(posted("conflict_decision", {**said, "resolution": "use_crewflow", "method": "model"}, "e-2"))
    assert conflict().decision_id == stands
    post(posted("conflict_decision", {**said, "resolution": "use_crewflow", "conflict_id": "x-77"}, "e-3"))
    post(posted("conflict_decision", {**said, "resolution": "use_external", "action": "undo"}, "e-4"))
    assert (conflict().state, conflict().external_value) == ("reopened", 7.5)


def test_posted_decisions_of_two_companies_may_share_a_long_event_id(deciding_everywhere: Engine) -> None:
    """The decision has an id of its own, which is shorter and of all companies."""
    add_companies("c-2")
    said = {"conflict_id": "x-1", "conflict_type": "hours_mismatch", "decided_by": "lee", "method": "person"}
    for company in (COMPANY, "c-2"):
        report(company=company)
        event = {**said, "resolution": "use_external"}
        post(posted("conflict_decision", event, "e-" + 98 * "1", company_id=company))
        assert conflict(company=company).state == "resolved"


def test_a_posted_decision_names_no_prediction_that_cannot_be(deciding: Engine) -> None:
    said = {"conflict_id": "x-1", "conflict_type": "hours_mismatch", "decided_by": "lee", "resolution": "manual"}
    with pytest.raises(InvalidInputError) as caught:
        post(posted("conflict_decision", {**said, "prediction_id": 41 * "p"}, "e-1"))
    assert caught.value.problems[0].loc[-1] == "prediction_id"


def test_a_posted_conflict_has_its_last_sync_before_it(deciding: Engine) -> None:
    late = told("x-2", last_sync_timestamp="2026-03-02T12:05:01Z").model_dump(mode="json")
    with pytest.raises(InvalidInputError) as caught:
        post(EventIn(event_id="e-1", kind="conflict", company_id=COMPANY, occurred_at=NOON, payload=late))
    assert caught.value.problems[0].loc == ("events", 0, "payload", "last_sync_timestamp")
    in_time = late | {"last_sync_timestamp": "2026-03-02T12:05:00Z"}
    post(EventIn(event_id="e-1", kind="conflict", company_id=COMPANY, occurred_at=NOON, payload=in_time))
