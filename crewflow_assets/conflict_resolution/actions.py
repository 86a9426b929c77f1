"""What is done with conflicts here and now: reported, decided by the model or a person, taken back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.contract import Resolution, Value
from crewflow_assets.conflict_resolution.ledger import ConflictLedger, Verdict, conflicts_named
from crewflow_assets.conflict_resolution.metrics import after_review
from crewflow_assets.conflict_resolution.queue import answer_of
from crewflow_assets.conflict_resolution.reports import keep_report, problems_of, same_report
from crewflow_assets.conflict_resolution.standing import (
    ACTOR,
    REOPENED,
    ResolutionState,
    inputs_of,
    refuse_edited,
)
from crewflow_assets.conflict_resolution.switches import switch_of, why_not_automatic
from crewflow_assets.errors import ConflictError, FieldProblem, InvalidInputError
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.ingest.event_kinds import ConflictRecorded, EventIn
from crewflow_assets.settings import get_settings
from crewflow_assets.store.audit import new_decision_id
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the model says about a conflict as it stands in ``inputs`` (``standing.inputs_of``)."""

    inputs: Mapping[str, Any]
    action: Resolution
    confidence: float
    auto_resolve: bool
    reason: str
    model_version: str
    prediction_id: str | None = None


def record(session: Session, *, company_id: str, conflict: ConflictRecorded, decided_by: str) -> dict[str, Any]:
    """Make a conflict known, or say what its record holds now where it is still to be decided.

    Raises:
        NotFoundError: the company is unknown.
        InvalidInputError: the values do not contradict, or do not fit the type, or the last sync is in the future.
        ConflictError: the id belongs to a conflict of another record or one that is resolved with other values, or
            the record has an undecided conflict of the type under another id.
    """
    at = clock.now()
    ledger = ConflictLedger(session, [company_id], at)
    problems = [FieldProblem(loc, text) for loc, text in problems_of(conflict, at)]
    if problems:
        raise InvalidInputError("the conflict was not recorded", tuple(problems))
    known = conflicts_named(session, company_id, [conflict.conflict_id]).get(conflict.conflict_id)
    if known is not None and same_report(known, conflict):
        return answer_of(known, ledger.standing(known))
    stored = keep_report(ledger, company_id, conflict, at, by=decided_by)
    ledger.journal.event(
        EventIn(
            event_id=f"{conflict.conflict_id}-{new_decision_id()}",
            kind="conflict",
            company_id=company_id,
            occurred_at=at,
            payload=conflict.model_dump(mode="json"),
        )
    )
    ledger.close()
    return answer_of(stored, None)


def decide(
    session: Session,
    *,
    company_id: str,
    conflict_id: str,
    resolution: Resolution,
    value: Value | None = None,
    decided_by: str,
    prediction_id: str | None = None,
) -> dict[str, Any]:
    """Let a person's choice stand, in place of the model's or a rule's where there is one, and tell who loses.

    The same choice on an automatic decision confirms it.

    Raises:
        NotFoundError: company or conflict unknown.
        InvalidInputError: ``value`` contradicts the choice.
        ConflictError: a person decided it otherwise already, or the record was edited since.
    """
    ledger = ConflictLedger(session, [company_id], clock.now())
    conflict = ledger.conflict(company_id, conflict_id)
    standing = ledger.standing(conflict)
    chosen = _value_of(conflict, resolution, value)
    if standing is not None and (standing.action, standing.value) == (resolution, chosen):
        if standing.method == "model" and standing.review is None:
            ledger.confirm(conflict, standing, by=decided_by)
            ledger.close()
            after_review(session, company_id, conflict.conflict_type, ledger.at)
        return answer_of(conflict, standing)
    if standing is not None and standing.method == "person":
        raise ConflictError(
            f"conflict {conflict_id!r} was decided by {standing.decided_by!r} already ({standing.action}, decision "
            f"{standing.id!r}); undo that first"
        )
    refuse_edited(conflict)
    reviews = conflict.blind or (standing is not None and standing.method == "model")
    taken = ledger.resolve(
        conflict,
        Verdict(action=resolution, value=chosen, method="person", decided_by=decided_by, prediction_id=prediction_id),
    )
    ledger.close()
    if reviews:
        after_review(session, company_id, conflict.conflict_type, ledger.at)
    return answer_of(conflict, taken)


def decide_automatically(
    session: Session, *, company_id: str, conflict_id: str, proposal: Proposal | None, reported: bool = False
) -> tuple[dict[str, Any], str | None]:
    """Let the model's proposal stand where that is allowed and sure enough; else, and without one, a person decides.

    What is only ``reported``, perhaps again, may have been decided meanwhile: then that stands.

    Returns:
        The conflict, and why a person decides; None where the proposal stands or was withheld, and without one.

    Raises:
        NotFoundError: company or conflict unknown.
        ConflictError: the conflict was decided already, and is not only ``reported``.
    """
    ledger = ConflictLedger(session, [company_id], clock.now())
    conflict = ledger.conflict(company_id, conflict_id)
    standing = ledger.standing(conflict)
    if standing is not None and reported:
        return answer_of(conflict, standing), None
    if standing is not None:
        raise ConflictError(
            f"conflict {conflict_id!r} was decided by {standing.decided_by!r} already ({standing.action}, decision "
            f"{standing.id!r}); the model decides what is open alone"
        )
    if conflict.blind or proposal is None:
        return answer_of(conflict, None), None
    if reason := _why_a_person(ledger, conflict, proposal):
        return answer_of(conflict, None), reason
    share = get_settings().withheld_share
    verdict = Verdict(
        action=proposal.action,
        method="model",
        decided_by=ACTOR,
        confidence=proposal.confidence,
        reason=proposal.reason,
        model_version=proposal.model_version,
        prediction_id=proposal.prediction_id,
        propensity=share,
    )
    if uniform("withheld", ACTOR, company_id, conflict_id) < share:
        ledger.withhold(conflict, verdict)
        ledger.close()
        return answer_of(conflict, None), None
    taken = ledger.resolve(conflict, verdict)
    ledger.close()
    return answer_of(conflict, taken), None


def undo(session: Session, *, company_id: str, conflict_id: str, decided_by: str) -> dict[str, Any]:
    """Take the decision back that stands: both sides hold again what they held, and a person decides.

    Raises:
        NotFoundError: company or conflict unknown.
        ConflictError: nothing stands, or the record was edited or decided upon since.
    """
    ledger = ConflictLedger(session, [company_id], clock.now())
    conflict = ledger.conflict(company_id, conflict_id)
    standing = ledger.standing(conflict)
    if standing is None:
        why = conflict.reopened_reason or "nothing was decided yet"
        raise ConflictError(f"conflict {conflict_id!r} has no decision that stands: {why}")
    refuse_edited(conflict)
    if (later := _later(session, conflict)) is not None:
        raise ConflictError(
            f"the record of conflict {conflict_id!r} is in conflict again since ({later!r}); decide that one"
        )
    ledger.take_back(conflict, standing, by=decided_by)
    ledger.close()
    after_review(session, company_id, conflict.conflict_type, ledger.at)
    return answer_of(conflict, None)


def _value_of(conflict: Conflict, resolution: Resolution, value: Value | None) -> Value | None:
    """Return the value that a person's choice lets stand."""
    if resolution == "manual":
        if value is not None and conflict.conflict_type == "hours_mismatch" and not isinstance(value, float | int):
            text = f"{value!r} is no number of hours; send a number"
            raise InvalidInputError(f"value: {text}", (FieldProblem(("value",), text),))
        return value
    stands = conflict.crewflow_value if resolution == "use_crewflow" else conflict.external_value
    if value is not None and value != stands:
        text = f"{value!r} contradicts {resolution}, whose value is {stands!r}; leave it out, or choose 'manual'"
        raise InvalidInputError(f"value: {text}", (FieldProblem(("value",), text),))
    return stands


def _why_a_person(ledger: ConflictLedger, conflict: Conflict, proposal: Proposal) -> str | None:
    switch = switch_of(ledger.session, conflict.company_id, conflict.conflict_type)
    if reason := why_not_automatic(ledger.session, switch, ledger.at):
        return reason
    if proposal.action == "manual" or not proposal.auto_resolve:
        return f"the model is {proposal.confidence:.0%} sure of {proposal.action}, too little to decide by itself"
    if conflict.state == REOPENED:
        return f"it was re-opened: {conflict.reopened_reason}"
    if conflict.edited_at is not None:
        return "the record was edited since"
    if json.dumps(dict(proposal.inputs), sort_keys=True) != json.dumps(inputs_of(conflict), sort_keys=True):
        return "the record changed while the model was asked"
    return _against_someone(ledger.session, conflict, proposal.action)


def _against_someone(session: Session, conflict: Conflict, action: str) -> str | None:
    """Say which decision of a person or a rule on the same record an automatic one would go against."""
    if conflict.record_id is None:
        return None
    last = session.execute(
        select(ConflictResolution.action, ConflictResolution.decided_by)
        .join(Conflict, Conflict.id == ConflictResolution.conflict)
        .where(
            Conflict.company_id == conflict.company_id,
            Conflict.record_type == conflict.record_type,
            Conflict.record_id == conflict.record_id,
            Conflict.conflict_type == conflict.conflict_type,
            ConflictResolution.method != "model",
            ConflictResolution.state == ResolutionState.IN_FORCE.value,
        )
        .order_by(ConflictResolution.decided_at.desc())
        .limit(1)
    ).one_or_none()
    if last is None or last.action == action:
        return None
    return (
        f"{last.decided_by} decided {last.action} for this record before; an automatic decision never overrides that"
    )


def _later(session: Session, conflict: Conflict) -> str | None:
    if conflict.record_id is None:
        return None
    return session.scalar(
        select(Conflict.conflict_id).where(
            Conflict.company_id == conflict.company_id,
            Conflict.record_type == conflict.record_type,
            Conflict.record_id == conflict.record_id,
            Conflict.conflict_type == conflict.conflict_type,
            Conflict.opened_at > conflict.opened_at,
        )
    )
