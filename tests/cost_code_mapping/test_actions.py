"""Decisions on mappings: precedence, undo, the audit row and the outbox command of each, on both databases."""

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping import actions
from crewflow_assets.cost_code_mapping.actions import decide, record_imported, reopen_refused, undo
from crewflow_assets.errors import ConflictError, InvalidInputError, NotFoundError
from crewflow_assets.ingest.jobs import ImportedMapping
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry, Company, Event, Mapping, OutboxCommand, Prediction
from tests.worlds import QUICKBOOKS, START, mapping_event, post, write_company

COMPANY = "c-1"
ITEM = "quickbooks/cost_code/16-100.L"


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        write_company(session, COMPANY)
    return COMPANY


def say(action: Any, target: str, *, by: str = "dana", code: str = "16-100.L", **changes: Any) -> dict[str, Any]:
    with transaction() as session:
        return decide(
            session,
            **{
                "company_id": COMPANY,
                "action": action,
                "kind": "cost_code",
                "system": QUICKBOOKS,
                "source_code": code,
                "target_code": target,
                "decided_by": by,
            }
            | changes,
        )


def take_back(decision_id: str, *, by: str = "sam", company_id: str = COMPANY) -> dict[str, Any]:
    with transaction() as session:
        return undo(session, company_id=company_id, decision_id=decision_id, decided_by=by)


def everything(table: Any) -> list[Any]:
    with reading() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def audit() -> list[AuditEntry]:
    return [entry for entry in everything(AuditEntry) if entry.subject_type == "mapping"]


def standing(code: str = "16-100.L") -> Mapping:
    with reading() as session:
        return session.scalars(select(Mapping).where(Mapping.source_code == code)).one()


def revision() -> int:
    with reading() as session:
        return session.get_one(Company, COMPANY).revision


def refuse_last(reason: str = "the payroll period is closed") -> None:
    with transaction() as session:
        command = session.scalars(select(OutboxCommand).order_by(OutboxCommand.id.desc())).first()
        assert command is not None
        reopen_refused(session, command, reason)


def prediction(method: str = "model", **changes: Any) -> str:
    row: dict[str, Any] = {
        "id": "p-1",
        "model": "cost_code_mapping",
        "model_version": "1.3",
        "variant": "champion",
        "company_id": COMPANY,
        "inputs": {},
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


def test_an_automatic_event_that_is_posted_does_not_override_a_person_either(company: str) -> None:
    say("accept", "50100")
    with transaction() as session:
        post(session, mapping_event(COMPANY, "16-100.L", "50200", clock.now(), method="model", decided_by="model"))
    assert (standing().target_code, standing().method) == ("50100", "person")
    assert len(audit()) == 1
    assert len(everything(Event)) == 2  # it happened, so the lake knows it


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


def test_a_refused_mapping_is_open_again_and_says_why(company: str) -> None:
    say("accept", "50100")
    before = revision()
    refuse_last()
    mapping = standing()
    assert (mapping.target_code, mapping.method) == (None, None)
    assert mapping.reopened_reason == "refused by the other side: the payroll period is closed"
    assert revision() > before
    last = audit()[-1]
    assert (last.actor, last.action) == ("outbox", "mapping.undo")
    assert last.before is not None
    assert last.before["target_code"] == "50100"
    assert say("accept", "50200")["state"] == "mapped"
    assert standing().reopened_reason is None


def test_a_refusal_of_what_was_decided_again_since_changes_nothing(company: str) -> None:
    say("accept", "50200")
    [old] = everything(OutboxCommand)
    say("correct", "50100")
    with transaction() as session:
        reopen_refused(session, old, "closed")
    assert standing().target_code == "50100"
    assert len(audit()) == 2


def test_undoing_a_refused_decision_does_not_bring_it_back(company: str) -> None:
    say("accept", "50200")
    answer = say("correct", "50100")
    refuse_last()
    with pytest.raises(ConflictError, match="decided again since"):
        take_back(answer["decision_id"])
    assert standing().target_code is None


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


def run_together(*acts: Callable[[], dict[str, Any]]) -> list[Any]:
    """Run functions in threads that start at once; return what each answered or raised."""
    barrier = threading.Barrier(len(acts))
    outcomes: list[Any] = [None] * len(acts)

    def run(place: int) -> None:
        barrier.wait()
        try:
            outcomes[place] = acts[place]()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


def test_of_two_people_who_accept_different_accounts_at_once_one_wins(company: str) -> None:
    outcomes = run_together(lambda: say("accept", "50100", by="a"), lambda: say("accept", "50200", by="b"))
    [won] = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    [lost] = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
    assert isinstance(lost, ConflictError)
    assert standing().target_code == won["target_code"]
    assert len(audit()) == len(everything(OutboxCommand)) == 1


def test_of_two_people_who_accept_the_same_account_at_once_both_get_the_same_answer(company: str) -> None:
    one, other = run_together(*[lambda: say("accept", "50100")] * 2)
    assert one == other
    assert len(audit()) == len(everything(OutboxCommand)) == 1


def test_decisions_on_many_items_at_once_are_all_kept(company: str) -> None:
    codes = ["16-100.L", "16-100.M", "16-200.L", "16-200.M", "16-300.S", "01-500", "01-510", "01-900"]
    before = revision()
    outcomes = run_together(*(lambda code=code: say("accept", "50100", code=code) for code in codes))
    assert all(isinstance(outcome, dict) for outcome in outcomes), outcomes
    assert sorted(m.source_code for m in everything(Mapping)) == sorted(codes)
    assert revision() == before + 8


def imported(session: Session, target: str = "50100") -> Any:
    return record_imported(session, [ImportedMapping(COMPANY, "cost_code", QUICKBOOKS, "16-100.L", target)])


def test_imported_mappings_count_as_a_persons_and_nobody_is_told(company: str) -> None:
    with transaction() as session:
        counts = imported(session)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 0, 0)
    assert (standing().target_code, standing().method, standing().decided_by) == ("50100", "import", "import")
    assert everything(OutboxCommand) == []
    assert [entry.action for entry in audit()] == ["mapping.accept"]
    with pytest.raises(ConflictError, match="never overrides"):
        say("accept", "50200", automatic=True)


def test_importing_the_same_mappings_again_changes_nothing(company: str) -> None:
    with transaction() as session:
        imported(session)
    with transaction() as session:
        counts = imported(session)
    assert (counts.inserted, counts.updated, counts.unchanged) == (0, 0, 1)
    assert len(everything(Event)) == len(audit()) == 1


def test_an_import_changes_a_mapping_and_confirms_an_automatic_one(company: str) -> None:
    say("accept", "50100", by="model", automatic=True)
    with transaction() as session:
        assert imported(session).updated == 1
    assert standing().method == "import"
    with transaction() as session:
        assert imported(session, "50200").updated == 1
    assert [entry.action for entry in audit()] == ["mapping.accept", "mapping.accept", "mapping.correct"]
