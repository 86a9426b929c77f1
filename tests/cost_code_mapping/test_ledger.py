"""Decision events against the ledger: order of time, precedence, unknown records."""

import difflib
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from crewflow_assets.cost_code_mapping import posted
from crewflow_assets.cost_code_mapping.ledger import MappingLedger
from crewflow_assets.errors import InvalidInputError, NotFoundError
from crewflow_assets.ingest import suggestions
from crewflow_assets.store.audit import new_decision_id
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, Event, Mapping, OutboxCommand
from tests.cost_code_mapping.deciding import COMPANY, audit, standing
from tests.worlds import ACCOUNTS, COST_CODES, START, mapping_event, post, write_company

CODE = "16-100.L"


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def record(target: str | None, hours: float, **changes: object) -> None:
    with transaction() as session:
        post(session, mapping_event(COMPANY, CODE, target, at(hours), **changes))


def test_a_posted_decision_stands_as_of_its_own_moment_and_is_audited(company: str) -> None:
    record("50100", 1, event_id="theirs-1")
    mapping = standing()
    assert (mapping.target_code, mapping.decision_id, mapping.decided_at) == ("50100", "theirs-1", at(1))
    [entry] = audit()
    assert entry.after is not None
    assert (entry.actor, entry.after["decision_id"]) == ("dana", "theirs-1")


def test_nobody_is_told_of_a_decision_that_came_from_outside(company: str) -> None:
    record("50100", 1)
    with reading() as session:
        assert session.scalars(select(OutboxCommand)).all() == []


def test_an_event_older_than_the_standing_decision_is_only_history(company: str) -> None:
    record("50100", 5)
    with reading() as session:
        revision = session.get_one(Company, COMPANY).revision
    record("50200", 4)
    assert standing().target_code == "50100"
    assert len(audit()) == 1
    with reading() as session:
        assert session.get_one(Company, COMPANY).revision == revision
        assert len(session.scalars(select(Event)).all()) == 2  # the lake knows it


def test_events_of_one_batch_act_in_the_order_of_their_moments(company: str) -> None:
    with transaction() as session:
        post(
            session,
            mapping_event(COMPANY, CODE, "50300", at(3), action="correct"),
            mapping_event(COMPANY, CODE, "50100", at(1)),
            mapping_event(COMPANY, CODE, "50200", at(2), action="correct"),
        )
    assert standing().target_code == "50300"
    assert [entry.after and entry.after["target_code"] for entry in audit()] == ["50100", "50200", "50300"]


def test_of_two_events_of_the_same_moment_the_last_to_come_stands(company: str) -> None:
    record("50100", 1)
    record("50200", 1, action="correct")
    assert standing().target_code == "50200"


def test_a_posted_undo_opens_the_item(company: str) -> None:
    record("50100", 1)
    record(None, 2)
    assert (standing().target_code, standing().method) == (None, None)


def test_an_automatic_event_fills_what_is_open_and_gives_way_to_a_person(company: str) -> None:
    record("50200", 1, method="memory", decided_by="crewflow")
    assert standing().method == "memory"
    record("50100", 2)
    record("50300", 3, method="memory", decided_by="crewflow")
    assert (standing().target_code, standing().method) == ("50100", "person")
    record(None, 4)
    record("50300", 5, method="model", decided_by="crewflow")
    assert (standing().target_code, standing().method) == ("50300", "model")


def test_every_unknown_record_of_a_batch_is_named_and_nothing_is_kept(company: str) -> None:
    def post_all() -> None:
        with transaction() as session:
            post(
                session,
                mapping_event(COMPANY, CODE, "50100", at(1)),
                mapping_event(COMPANY, "16-100.Q", "50100", at(3)),
                mapping_event(COMPANY, CODE, "59999", at(2)),
            )

    with pytest.raises(InvalidInputError) as error:
        post_all()
    assert {problem.loc for problem in error.value.problems} == {
        ("events", 1, "payload", "source_code"),
        ("events", 2, "payload", "target_code"),
    }
    assert all("import" in problem.msg for problem in error.value.problems)
    with reading() as session:
        assert session.scalars(select(Event)).all() == []
        assert session.scalars(select(Mapping)).all() == []


def test_the_ledger_of_an_unknown_company_cannot_be_opened(store: Engine) -> None:
    with pytest.raises(NotFoundError, match="company 'c-9' is unknown; import its chart"), transaction() as session:
        MappingLedger(session, "c-9")


def test_unknown_names_of_a_batch_are_compared_within_one_budget(
    company: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write lock is held meanwhile: what is sent must not decide for how long."""
    compared: list[str] = []

    def counted(wanted: str, known: list[str], n: int) -> list[str]:
        compared.extend(known)
        return difflib.get_close_matches(wanted, known, n=n)

    def post_all() -> None:
        with transaction() as session:
            write_company(session, "c-2")
            post(
                session,
                *(
                    mapping_event(of, f"16-{number % 200}.Q", f"5{number % 200:04}", at(number / 100))
                    for number in range(300)
                    for of in (COMPANY, "c-2")
                ),
            )

    monkeypatch.setattr(suggestions, "get_close_matches", counted)
    monkeypatch.setattr(posted, "COMPARISONS", 400)
    with pytest.raises(InvalidInputError) as error:
        post_all()
    assert len(error.value.problems) == 600
    assert len(compared) <= 400 + max(len(COST_CODES), len(ACCOUNTS))
    near = [problem.msg for problem in error.value.problems if "nearest is" in problem.msg]
    assert near
    assert "company 'c-1' has no cost code '16-0.Q', nearest is" in near[0]


def test_decision_ids_are_distinct_and_usable_as_idempotency_keys() -> None:
    ids = {new_decision_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(one.replace("-", "").isalnum() and len(one) <= 100 for one in ids)
