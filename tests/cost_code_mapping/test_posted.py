"""Mappings decided elsewhere: by posted events and by files, and what the other side refuses."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping.posted import record_imported, reopen_refused
from crewflow_assets.errors import ConflictError
from crewflow_assets.ingest.jobs import ImportedMapping
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Event, OutboxCommand
from tests.cost_code_mapping.deciding import (
    COMPANY,
    audit,
    everything,
    refuse_last,
    revision,
    say,
    standing,
    take_back,
)
from tests.worlds import QUICKBOOKS, mapping_event, post


def test_an_automatic_event_that_is_posted_does_not_override_a_person_either(company: str) -> None:
    say("accept", "50100")
    with transaction() as session:
        post(session, mapping_event(COMPANY, "16-100.L", "50200", clock.now(), method="model", decided_by="model"))
    assert (standing().target_code, standing().method) == ("50100", "person")
    assert len(audit()) == 1
    assert len(everything(Event)) == 2  # it happened, so the lake knows it


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
