"""What comes from outside about mappings: decisions as events, mappings from files, and refused commands."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping.actions import COMMAND
from crewflow_assets.cost_code_mapping.ledger import (
    COMPARISONS,
    PERSON,
    Decided,
    Item,
    MappingLedger,
    record_decided,
)
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.ingest.event_kinds import MappingDecision
from crewflow_assets.ingest.events import EventHandler, RecordedEvent
from crewflow_assets.ingest.jobs import ImportedMapping, MappingCounts
from crewflow_assets.ingest.suggestions import Suggestions
from crewflow_assets.outbox.queue import RefusalHandler
from crewflow_assets.store.audit import new_decision_id
from crewflow_assets.store.tables import OutboxCommand


def record_decision_events(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Let posted ``mapping_decision`` events change the mappings they concern, oldest first.

    Raises:
        InvalidInputError: events name unknown items or accounts; every one is listed.
    """
    ledgers: dict[str, MappingLedger] = {}
    suggestions = Suggestions(COMPARISONS)
    problems: list[FieldProblem] = []
    decided: list[tuple[MappingLedger, Decided]] = []
    for recorded in sorted(events, key=lambda e: e.event.occurred_at):
        company_id = recorded.event.company_id
        ledger = ledgers.get(company_id) or ledgers.setdefault(
            company_id, MappingLedger(session, company_id, suggestions)
        )
        decision = MappingDecision.model_validate(recorded.payload.model_dump())
        if problem := ledger.problem_with(decision):
            problems.append(FieldProblem(("events", recorded.index, "payload", problem[0]), problem[1]))
        decided.append((ledger, Decided(recorded.event.event_id, recorded.event.occurred_at, decision)))
    if problems:
        raise InvalidInputError("events name unknown records; nothing was recorded", tuple(problems))
    for ledger, one in decided:
        ledger.apply(one)


def record_imported(session: Session, imported: list[ImportedMapping]) -> MappingCounts:
    """Record mappings that a file says are in force; they count as a person's, and nobody is told."""
    inserted = updated = unchanged = 0
    ledgers: dict[str, MappingLedger] = {}
    changes: list[tuple[MappingLedger, Decided]] = []
    at = clock.now()
    for row in imported:
        ledger = ledgers.get(row.company_id) or ledgers.setdefault(
            row.company_id, MappingLedger(session, row.company_id)
        )
        standing = ledger.mappings.get((row.kind, row.source_code, row.system))
        previous = standing.target_code if standing else None
        if standing and previous == row.target_code and standing.method in PERSON:
            unchanged += 1
            continue
        inserted += previous is None
        updated += previous is not None
        decided = Decided(
            new_decision_id(),
            at,
            MappingDecision(
                kind=row.kind,
                system=row.system,
                source_code=row.source_code,
                action="accept" if previous in (None, row.target_code) else "correct",
                target_code=row.target_code,
                previous_code=previous,
                method="import",
                decided_by="import",
            ),
        )
        changes.append((ledger, decided))
    record_decided(session, changes)
    for ledger, decided in changes:
        ledger.apply(decided)
    return MappingCounts(inserted=inserted, updated=updated, unchanged=unchanged)


def reopen_refused(session: Session, command: OutboxCommand, reason: str) -> None:
    """Re-open a mapping that the other side refused, unless it was decided again since."""
    ledger = MappingLedger(session, command.company)
    item: Item = (command.payload["kind"], command.payload["source_code"], command.payload["system"])
    mapping = ledger.mappings.get(item)
    if mapping is None or mapping.decision_id != command.payload["decision_id"]:
        return
    taken_back = Decided(
        new_decision_id(),
        clock.now(),
        MappingDecision(
            kind=item[0],
            system=item[2],
            source_code=item[1],
            action="undo",
            target_code=None,
            previous_code=mapping.target_code,
            decided_by="outbox",
        ),
    )
    record_decided(session, [(ledger, taken_back)])
    reopened = ledger.apply(taken_back)
    if reopened is not None:
        reopened.reopened_reason = f"refused by the other side: {reason}"


REFUSAL_HANDLERS: dict[str, RefusalHandler] = {COMMAND: reopen_refused}
EVENT_HANDLERS: dict[str, EventHandler] = {"mapping_decision": record_decision_events}
