"""What comes from outside about conflicts: reports, decisions and versions as events, and refused commands."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.alerting import OUTBOX, notes_refusal
from crewflow_assets.conflict_resolution.contract import Value
from crewflow_assets.conflict_resolution.journal import COMMAND
from crewflow_assets.conflict_resolution.ledger import ConflictLedger, Verdict, conflicts_named
from crewflow_assets.conflict_resolution.metrics import after_review
from crewflow_assets.conflict_resolution.reports import keep_report, problems_of
from crewflow_assets.conflict_resolution.standing import ACTOR, ResolutionState, holds
from crewflow_assets.errors import ConflictError, FieldProblem, InvalidInputError
from crewflow_assets.ingest.event_kinds import ConflictDecision, ConflictRecorded, RecordVersion
from crewflow_assets.ingest.events import EventHandler, RecordedEvent
from crewflow_assets.outbox.queue import CommandState, RefusalHandler
from crewflow_assets.store.conflict_tables import Conflict
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import OutboxCommand

VALUE: TypeAdapter[Any] = TypeAdapter(Value)
FIELDS = {"hours_mismatch": "hours", "cost_code_changed": "cost_code"}
"""What a record version calls the value that a conflict of a type is about."""


def record_conflict_events(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Let posted ``conflict`` events make conflicts known.

    Raises:
        InvalidInputError: values do not contradict, or an id or record has another conflict; every event is named.
    """
    ledger = ConflictLedger(session, {e.event.company_id for e in events}, clock.now())
    problems: list[FieldProblem] = []
    for recorded in _by_time(events):
        payload = recorded.payload
        assert isinstance(payload, ConflictRecorded)
        place = ("events", recorded.index, "payload")
        wrong = [FieldProblem((*place, *loc), text) for loc, text in problems_of(payload, recorded.event.occurred_at)]
        problems += wrong
        if wrong:
            continue
        try:
            keep_report(ledger, recorded.event.company_id, payload, recorded.event.occurred_at, by=ACTOR)
        except ConflictError as error:
            problems.append(FieldProblem((*place, "conflict_id"), str(error)))
    if problems:
        raise InvalidInputError("events contradict what is known; nothing was recorded", tuple(problems))
    ledger.close()


def record_decision_events(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Let posted ``conflict_decision`` events stand, oldest first: they were taken and carried out elsewhere.

    A decision on a conflict that was never reported is history alone, and so is one that is older than what stands,
    or an automatic one where a person or a rule decided.
    """
    ledger = ConflictLedger(session, {e.event.company_id for e in events}, clock.now())
    named: dict[str, set[str]] = defaultdict(set)
    for recorded in events:
        named[recorded.event.company_id].add(str(getattr(recorded.payload, "conflict_id", "")))
    known = {company: conflicts_named(session, company, ids) for company, ids in named.items()}
    judged: set[tuple[str, str]] = set()
    for recorded in _by_time(events):
        decision = recorded.payload
        assert isinstance(decision, ConflictDecision)
        conflict = known[recorded.event.company_id].get(decision.conflict_id)
        if conflict is None:
            continue
        standing = ledger.standing(conflict)
        moment = recorded.event.occurred_at
        late = standing is not None and standing.decided_at > moment
        outranked = decision.method == "model" and standing is not None and standing.method != "model"
        if late or outranked or (decision.action == "undo" and standing is None):
            continue
        if decision.action == "undo":
            ledger.reopen(
                conflict,
                by=decision.decided_by,
                reason=f"taken back by {decision.decided_by}",
                state=ResolutionState.UNDONE,
                crewflow_value=conflict.crewflow_value,
                external_value=conflict.external_value,
            )
        else:
            value = decision.value if decision.value is not None else decision.text_value
            verdict = Verdict(
                action=decision.resolution,
                value=value,
                method=decision.method,
                decided_by=decision.decided_by,
                confidence=decision.confidence,
                model_version=decision.model_version,
                prediction_id=decision.prediction_id,
            )
            ledger.resolve(conflict, verdict, taken_elsewhere_at=moment)
        judged.add((conflict.company_id, conflict.conflict_type))
    ledger.close()
    for company_id, conflict_type in sorted(judged):
        after_review(session, company_id, conflict_type, ledger.at)


def record_versions(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Let posted ``record_version`` events re-open the conflicts whose record was edited meanwhile.

    A version that a command of ours made (``command_id``) is no edit. An edit from before the decision, or before the
    losing side has taken the decision over, re-opens the conflict; a later one only keeps it from being undone. What
    is older than the last report of the conflict, or than an edit heard before, says nothing new.
    """
    ledger = ConflictLedger(session, {e.event.company_id for e in events}, clock.now())
    of_record = _conflicts_of(session, events)
    for recorded in _by_time(events):
        version = recorded.payload
        assert isinstance(version, RecordVersion)
        for conflict in of_record.get((recorded.event.company_id, version.record_type, version.record_id), ()):
            seen_at = getattr(conflict, f"{version.side}_seen_at") or conflict.opened_at
            if recorded.event.occurred_at > seen_at:
                _note_version(ledger, conflict, version, recorded.event.occurred_at)
    ledger.close()


def _conflicts_of(session: Session, events: Sequence[RecordedEvent]) -> dict[tuple[str, str, str], list[Conflict]]:
    """Return the conflicts of the records that events are about, oldest first."""
    ids: dict[str, set[str]] = defaultdict(set)
    for recorded in events:
        assert isinstance(recorded.payload, RecordVersion)
        ids[recorded.event.company_id].add(recorded.payload.record_id)
    found: dict[tuple[str, str, str], list[Conflict]] = defaultdict(list)
    for company_id, records in ids.items():
        for part in batched(sorted(records)):
            of_part = (Conflict.company_id == company_id, Conflict.record_id.in_(part))
            for conflict in session.scalars(select(Conflict).where(*of_part).order_by(Conflict.id)):
                found[company_id, conflict.record_type, str(conflict.record_id)].append(conflict)
    return found


def reopen_refused(session: Session, command: OutboxCommand, reason: str) -> None:
    """Re-open a conflict whose decision a side refused, unless that side was told something else since."""
    ledger = ConflictLedger(session, [command.company], clock.now())
    conflict = ledger.conflict(command.company, command.payload["conflict_id"])
    side = command.payload["side"]
    if getattr(conflict, f"{side}_command") != command.idempotency_key:
        return
    told = f"refused by {'CrewFlow' if side == 'crewflow' else 'the other side'}: {reason}"
    value, follows = _held_instead(session, command)
    changes = {f"{side}_value": value, f"{side}_command": follows}
    ledger.reopen(conflict, by=OUTBOX, reason=told, state=ResolutionState.REFUSED, **changes)
    ledger.close()


def _held_instead(session: Session, refused: OutboxCommand) -> tuple[Value | None, str | None]:
    """Return what a side holds after a refusal, and the command that made it so: those before may be refused too."""
    while (key := refused.payload["follows"]) is not None:
        earlier = session.scalars(select(OutboxCommand).where(OutboxCommand.idempotency_key == key)).one()
        if earlier.state != CommandState.REFUSED:
            break
        refused = earlier
    return refused.payload["previous_value"], refused.payload["follows"]


EVENT_HANDLERS: dict[str, EventHandler] = {
    "conflict": record_conflict_events,
    "conflict_decision": record_decision_events,
    "record_version": record_versions,
}


REFUSAL_HANDLERS: dict[str, RefusalHandler] = {
    COMMAND: reopen_refused,
    "conflict.alert": notes_refusal("conflict_switch", "conflict_type"),
}


def _note_version(ledger: ConflictLedger, conflict: Conflict, version: RecordVersion, at: datetime) -> None:
    side = version.side
    seen: dict[str, Any] = {f"{side}_version": version.version, f"{side}_seen_at": at}
    if version.version == getattr(conflict, f"{side}_version"):
        return
    if version.command_id is not None and version.command_id == getattr(conflict, f"{side}_command"):
        ledger.change(conflict, "conflict.carried_out", by=OUTBOX, **seen)
        return
    if version.command_id is not None and _ours(ledger.session, version.command_id):
        return  # an earlier command of ours, whose effect a later one replaces
    standing, field = ledger.standing(conflict), FIELDS.get(conflict.conflict_type)
    if field in version.values and version.values[field] == holds(conflict, standing)[side]:
        ledger.change(
            conflict, "conflict.other_edit", by=version.changed_by or side, **seen | {f"{side}_command": None}
        )
        return  # something else of the record was edited, or the same was entered by hand
    by = version.changed_by or side
    changes = seen | {
        f"{side}_updated_at": at,
        f"{side}_updated_by": version.changed_by,
        f"{side}_command": None,
        "edited_at": at,
    }
    if field is not None and (value := _value(version.values.get(field))) is not None:
        changes |= {f"{side}_value": value, "edited_at": None}
    if standing is not None and at > standing.decided_at and _carried_out(ledger.session, conflict):
        ledger.change(conflict, "conflict.edited_since", by=by, edited_at=at, **{f"{side}_seen_at": at})
        return
    where = "CrewFlow" if side == "crewflow" else conflict.system or "the other side"
    reason = f"the record was edited in {where} (version {version.version})"
    ledger.reopen(conflict, by=by, reason=reason, state=ResolutionState.OVERTAKEN, **changes)


def _value(said: object) -> Any:
    """Return what may be a conflict's value; None for anything else that a record holds in its place."""
    try:
        return VALUE.validate_python(said)
    except ValidationError:
        return None


def _ours(session: Session, command_id: str) -> bool:
    return session.scalar(select(OutboxCommand.id).where(OutboxCommand.idempotency_key == command_id)) is not None


def _carried_out(session: Session, conflict: Conflict) -> bool:
    """Say whether both sides have taken over what they were told."""
    keys = [key for key in (conflict.crewflow_command, conflict.external_command) if key is not None]
    waiting = select(OutboxCommand.id).where(
        OutboxCommand.idempotency_key.in_(keys), OutboxCommand.state != CommandState.DELIVERED.value
    )
    return session.scalar(waiting.limit(1)) is None


def _by_time(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
    return sorted(events, key=lambda recorded: recorded.event.occurred_at)
