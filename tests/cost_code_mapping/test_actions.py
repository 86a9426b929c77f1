"""Decisions on mappings: precedence, undo, the audit row and the outbox command of each, on both databases."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping import actions
from crewflow_assets.cost_code_mapping.actions import decide
from crewflow_assets.errors import ConflictError, InvalidInputError, NotFoundError
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Event, Mapping, OutboxCommand, Prediction
from tests.cost_code_mapping.deciding import COMPANY, audit, everything, revision, say, standing, take_back
from tests.worlds import QUICKBOOKS, START, write_company

ITEM = "quickbooks/cost_code/16-100.L"


def prediction(method: str = "model", **changes: Any) -> str:
    row: dict[str, Any] = {
        "id": "p-1",
        "model": "cost_code_mapping",
        "model_version": "1.3",
        "variant": "champion",
        "company_id": COMPANY,
        "inputs": {"crewflow_cost_code": "16-100.L", "target_system": QUICKBOOKS},
        "output": {"suggestions": [{"target_code": "50100", "confidence": 0.97}], "method": method},
        "withheld": False,
        "propensity": 0.05,
        "latency_ms": 1.0,
        "created_at": START,
    }
    with transaction() as session:
        session.add(Prediction(**(row | changes)))
    return str((row | changes)["id"])


def test_an_accepted_mapping_stands_with_its_event_audit_row_and_command(company: str) -> None:
    before = revision()
    with clock.fixed(START + timedelta(days=1)):
        answer = say("accept", "50100")
    mapping = standing()
    assert (mapping.target_code, mapping.method, mapping.decided_by) == ("50100", "person", "dana")
    assert mapping.decided_at == START + timedelta(days=1)
    assert revision() > before
    [event] = everything(Event)
    assert (event.event_id, event.kind, event.occurred_at) == (
        answer["decision_id"],
        "mapping_decision",
        mapping.decided_at,
    )
    assert event.payload["action"] == "accept"
    [entry] = audit()
    assert (entry.actor, entry.action, entry.subject_id, entry.before) == ("dana", "mapping.accept", ITEM, None)
    assert entry.after == {
        "target_code": "50100",
        "method": "person",
        "decision_id": answer["decision_id"],
        "decided_by": "dana",
        "decided_at": mapping.decided_at.isoformat(),
        "reopened_reason": None,
    }
    [command] = everything(OutboxCommand)
    assert (command.idempotency_key, command.record_key) == (answer["decision_id"], f"mapping/{ITEM}")
    assert command.payload == answer


def test_a_correction_keeps_what_stood_before_it_in_the_audit_row(company: str) -> None:
    first = say("accept", "50200")
    say("correct", "50100", by="sam")
    assert standing().target_code == "50100"
    last = audit()[-1]
    assert last.before is not None
    assert last.after is not None
    assert (last.before["target_code"], last.before["decision_id"]) == ("50200", first["decision_id"])
    assert (last.action, last.actor, last.after["target_code"]) == ("mapping.correct", "sam", "50100")
    assert everything(Event)[-1].payload["previous_code"] == "50200"


@pytest.mark.parametrize("action", ["accept", "correct"])
def test_repeating_a_persons_decision_changes_nothing(company: str, action: str) -> None:
    first = say(action, "50100")
    again = say(action, "50100", by="sam")
    assert again == first
    assert len(everything(Event)) == len(audit()) == len(everything(OutboxCommand)) == 1


def test_accepting_another_account_than_the_one_decided_is_a_conflict(company: str) -> None:
    say("accept", "50100")
    with pytest.raises(ConflictError, match=r"'16-100\.L' is mapped to '50100' already; use /v1/mappings/correct"):
        say("accept", "50200")
    assert standing().target_code == "50100"


def test_an_automatic_decision_never_overrides_a_person(company: str) -> None:
    say("accept", "50100")
    with pytest.raises(ConflictError, match="mapped to '50100' by 'dana'; an automatic decision never overrides"):
        say("accept", "50200", by="model", automatic=True)
    with pytest.raises(ConflictError, match="never overrides"):
        say("correct", "50200", by="model", automatic=True)
    assert say("accept", "50100", by="model", automatic=True)["decided_by"] == "dana"
    assert standing().method == "person"


def test_a_person_overrides_and_confirms_what_the_model_did(company: str) -> None:
    say("accept", "50200", by="model", automatic=True)
    assert standing().method == "model"
    assert say("accept", "50200")["method"] == "person"  # a confirmation is news
    say("correct", "50100")
    assert (standing().target_code, standing().method) == ("50100", "person")
    assert [entry.method for entry in audit()] == ["model", "person", "person"]


@pytest.mark.parametrize("method", ["model", "memory"])
def test_an_automatic_mapping_records_how_it_was_found(company: str, method: str) -> None:
    say("accept", "50100", by="crewflow", automatic=True, prediction_id=prediction(method))
    assert standing().method == method
    [entry] = audit()
    assert (entry.method, entry.model_version, entry.prediction_id) == (method, "1.3", "p-1")
    assert entry.confidence == pytest.approx(0.97)


def test_a_prediction_of_no_company_may_be_named_and_one_of_another_not(company: str) -> None:
    with pytest.raises(NotFoundError, match="has no prediction 'p-2'"):
        say("accept", "50100", prediction_id=prediction(id="p-2", company_id="c-other"))
    say("accept", "50100", prediction_id=prediction(company_id=None))
    [entry] = audit()
    assert (entry.prediction_id, entry.model_version) == ("p-1", "1.3")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"inputs": {"crewflow_cost_code": "01-500", "target_system": QUICKBOOKS}},
            "cost_code '01-500' of quickbooks",
        ),
        ({"inputs": {"crewflow_cost_code": "16-100.L", "target_system": "sage"}}, "cost_code '16-100.L' of sage"),
        (
            {"inputs": {"crewflow_cost_code": "16-100.L", "kind": "project", "target_system": QUICKBOOKS}},
            "project '16-100.L' of quickbooks",
        ),
        ({"model": "sync_health", "inputs": {"integration_id": "i-1"}}, "a prediction of sync_health"),
    ],
)
def test_a_prediction_of_something_else_is_refused(company: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        say("accept", "50100", prediction_id=prediction(**changes))
    [problem] = error.value.problems
    assert problem.loc == ("prediction_id",)
    assert said in problem.msg
    assert not everything(Event)
    inputs = {"crewflow_cost_code": "16-100.L", "kind": "cost_code", "target_system": QUICKBOOKS}
    assert say("accept", "50100", prediction_id=prediction(id="p-2", inputs=inputs))["state"] == "mapped"


def test_a_decision_on_a_withheld_prediction_is_marked_blind_with_its_propensity(company: str) -> None:
    say("accept", "50200", prediction_id=prediction(withheld=True, propensity=0.05))
    payload = everything(Event)[0].payload
    assert (payload["blind"], payload["propensity"], payload["suggested_code"]) == (True, 0.05, "50100")


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        (
            {"code": "16-100.K"},
            "source_code",
            r"no cost code '16-100\.K', nearest is '16-100\.[LM]'; import it first",
        ),
        ({"target_code": "50199"}, "target_code", "quickbooks chart .* no account '50199', nearest is '50100'"),
        (
            {"system": "sage"},
            "target_code",
            "the sage chart of company 'c-1' has no account '50100'; import the chart",
        ),
        ({"kind": "project"}, "source_code", "no project"),
    ],
)
def test_unknown_records_are_named_with_the_nearest_known_one(
    company: str, changes: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        say("accept", **({"target": "50100"} | changes))
    [problem] = error.value.problems
    assert problem.loc == (field,)
    assert re.search(text, problem.msg), problem.msg
    assert everything(Event) == []


def test_an_unknown_company_is_not_found(store: Engine) -> None:
    with pytest.raises(NotFoundError, match="company 'c-1' is unknown; import"):
        say("accept", "50100")


def test_undo_restores_what_stood_before_and_tells_the_other_side(company: str) -> None:
    say("accept", "50200")
    second = say("correct", "50100")
    restored = take_back(second["decision_id"])
    assert (restored["target_code"], restored["method"], restored["decided_by"]) == ("50200", "person", "sam")
    assert [c.payload["target_code"] for c in everything(OutboxCommand)] == ["50200", "50100", "50200"]
    assert audit()[-1].action == "mapping.undo"


def test_undoing_the_first_decision_opens_the_item_for_review(company: str) -> None:
    answer = take_back(say("accept", "50100")["decision_id"])
    assert (answer["state"], answer["target_code"], answer["method"]) == ("review", None, None)
    assert everything(OutboxCommand)[-1].payload["target_code"] is None
    assert say("accept", "50200")["target_code"] == "50200"  # it is open again


def test_an_undo_can_be_undone_and_that_again(company: str) -> None:
    first = say("accept", "50100")
    taken = take_back(first["decision_id"])
    back = take_back(taken["decision_id"])
    assert (back["target_code"], back["state"]) == ("50100", "mapped")
    assert take_back(back["decision_id"])["target_code"] is None


def test_undo_restores_an_automatic_mapping_as_automatic(company: str) -> None:
    say("accept", "50200", by="model", automatic=True)
    restored = take_back(say("correct", "50100")["decision_id"])
    assert (restored["target_code"], restored["method"]) == ("50200", "model")
    say("correct", "50300")  # and so a person may still change it


def test_only_the_standing_decision_can_be_undone(company: str) -> None:
    first = say("accept", "50200")
    second = say("correct", "50100")
    with pytest.raises(ConflictError, match=f"decided again since \\(decision '{second['decision_id']}'"):
        take_back(first["decision_id"])
    take_back(second["decision_id"])
    with pytest.raises(ConflictError, match="decided again since"):
        take_back(second["decision_id"])


def test_another_companys_decision_is_not_found(company: str) -> None:
    answer = say("accept", "50100")
    with transaction() as session:
        write_company(session, "c-2")
    with pytest.raises(NotFoundError, match="company 'c-2' has no decision"):
        take_back(answer["decision_id"], company_id="c-2")


def test_a_decision_that_is_rolled_back_leaves_nothing_behind(company: str) -> None:
    def decide_and_fail() -> None:
        with transaction() as session:
            decide(
                session,
                company_id=COMPANY,
                action="accept",
                kind="cost_code",
                system=QUICKBOOKS,
                source_code="16-100.L",
                target_code="50100",
                decided_by="dana",
            )
            assert session.scalar(select(func.count()).select_from(OutboxCommand)) == 1
            raise RuntimeError("the connection broke")

    before = revision()
    with pytest.raises(RuntimeError):
        decide_and_fail()
    assert everything(Event) == everything(OutboxCommand) == everything(Mapping) == audit() == []
    assert revision() == before


def test_an_outbox_that_fails_takes_the_decision_with_it(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(actions, "enqueue", broken)
    with pytest.raises(OSError, match="disk full"):
        say("accept", "50100")
    assert everything(Event) == everything(Mapping) == audit() == []
