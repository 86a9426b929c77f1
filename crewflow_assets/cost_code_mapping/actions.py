"""What people and the platform do with mappings: accept, correct and undo."""

from collections import abc
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping.ledger import (
    PERSON,
    Decided,
    Item,
    MappingLedger,
    record_decided,
    subject_of,
)
from crewflow_assets.errors import ConflictError, FieldProblem, InvalidInputError, NotFoundError
from crewflow_assets.ingest.event_kinds import MappingDecision
from crewflow_assets.outbox.queue import enqueue
from crewflow_assets.store.audit import new_decision_id
from crewflow_assets.store.tables import AuditEntry, Event, Mapping, Prediction

COMMAND = "mapping.set"
MODEL = "cost_code_mapping"


def decide(
    session: Session,
    *,
    company_id: str,
    action: Literal["accept", "correct"],
    kind: Literal["cost_code", "project"],
    system: str,
    source_code: str,
    target_code: str,
    decided_by: str,
    automatic: bool = False,
    prediction_id: str | None = None,
) -> dict[str, Any]:
    """Map an item to an account, tell the accounting side through the outbox, and answer the mapping.

    ``accept`` maps what is open, or confirms what stands; ``correct`` changes what a person or the model decided.
    An automatic decision never overrides a person (precedence: person, memory, model).

    Raises:
        NotFoundError: company unknown, or the prediction is of another one; one of no company may be of any.
        InvalidInputError: item or account unknown, or the prediction is of something else.
        ConflictError: ``accept`` of another account than the one decided, or automatic against a person.
    """
    ledger = MappingLedger(session, company_id)
    prediction = session.get(Prediction, prediction_id) if prediction_id else None
    if prediction is not None and prediction.company_id not in (None, company_id):
        raise NotFoundError(f"company {company_id!r} has no prediction {prediction_id!r}")
    if prediction is not None:
        _refuse_another(prediction, (kind, source_code, system))
    standing = ledger.mappings.get((kind, source_code, system))
    suggested, confidence = _suggested(prediction)
    decision = MappingDecision(
        kind=kind,
        system=system,
        source_code=source_code,
        action=action,
        target_code=target_code,
        suggested_code=suggested,
        previous_code=standing.target_code if standing else None,
        confidence=confidence,
        method=_automatic_method(prediction) if automatic else "person",
        decided_by=decided_by,
        prediction_id=prediction_id,
        blind=bool(prediction and prediction.withheld),
        propensity=prediction.propensity if prediction and prediction.withheld else None,
    )
    if problem := ledger.problem_with(decision) or ledger.out_of_use(decision):
        raise InvalidInputError("the mapping was not recorded", (FieldProblem((problem[0],), problem[1]),))
    if automatic and standing is not None and standing.target_code is None:
        raise ConflictError(f"{source_code!r} was taken back by {standing.decided_by!r}; a person decides it now")
    if standing is not None and standing.target_code is not None:
        _refuse_contradiction(decision, standing, automatic=automatic)
        if standing.target_code == target_code and (automatic or standing.method in PERSON):
            return answer_of(standing)
    decided = Decided(new_decision_id(), clock.now(), decision)
    record_decided(session, [(ledger, decided)])
    mapping = ledger.apply(decided, model_version=prediction.model_version if prediction else None)
    if mapping is None:
        raise ConflictError(f"{source_code!r} was decided at a later moment than now; check the clocks")
    _tell(session, mapping)
    return answer_of(mapping)


def undo(session: Session, *, company_id: str, decision_id: str, decided_by: str) -> dict[str, Any]:
    """Take a decision back and restore what stood before it.

    Raises:
        NotFoundError: the company has no such decision.
        ConflictError: the item was decided again since, or the decision was undone already.
    """
    ledger = MappingLedger(session, company_id)
    event = session.scalar(
        select(Event).where(
            Event.company_id == company_id, Event.event_id == decision_id, Event.kind == "mapping_decision"
        )
    )
    if event is None:
        raise NotFoundError(f"company {company_id!r} has no decision {decision_id!r}")
    taken = MappingDecision.model_validate(event.payload)
    item: Item = (taken.kind, taken.source_code, taken.system)
    mapping = ledger.mappings[item]
    if mapping.decision_id != decision_id:
        raise ConflictError(
            f"{taken.source_code!r} was decided again since (decision {mapping.decision_id!r} by "
            f"{mapping.decided_by!r}); undo that one first, or correct the mapping"
        )
    before = _before(session, company_id, item, decision_id) or {}
    undone = Decided(
        new_decision_id(),
        clock.now(),
        MappingDecision(
            kind=taken.kind,
            system=taken.system,
            source_code=taken.source_code,
            action="undo",
            target_code=before.get("target_code"),
            previous_code=taken.target_code,
            method=before.get("method") or "person",
            decided_by=decided_by,
        ),
    )
    record_decided(session, [(ledger, undone)])
    restored = ledger.apply(undone)
    if restored is None:
        raise ConflictError(f"{taken.source_code!r} was decided at a later moment than now; check the clocks")
    _tell(session, restored)
    return answer_of(restored)


def answer_of(mapping: Mapping) -> dict[str, Any]:
    """Return a mapping as the HTTP routes answer it."""
    return {
        "decision_id": mapping.decision_id,
        "company_id": mapping.company_id,
        "kind": mapping.kind,
        "system": mapping.system,
        "source_code": mapping.source_code,
        "target_code": mapping.target_code,
        "state": "review" if mapping.target_code is None else "mapped",
        "method": mapping.method,
        "decided_by": mapping.decided_by,
        "decided_at": mapping.decided_at.isoformat(),
    }


def item_asked(inputs: abc.Mapping[str, Any]) -> Item:
    """Return the item that a logged prediction was made of."""
    return inputs.get("kind", "cost_code"), inputs["crewflow_cost_code"], inputs["target_system"]


def _refuse_another(prediction: Prediction, item: Item) -> None:
    """Refuse a prediction that was not made of the item: its outcome would be another's."""
    about = f"a prediction of {prediction.model}"
    if prediction.model == MODEL:
        found = item_asked(prediction.inputs)
        if found == item:
            return
        about = f"of the {found[0]} {found[1]!r} of {found[2]}"
    raise InvalidInputError(
        "the mapping was not recorded",
        (
            FieldProblem(
                ("prediction_id",), f"{prediction.id!r} is {about}, not of {item[1]!r}; send its own, or none"
            ),
        ),
    )


def _suggested(prediction: Prediction | None) -> tuple[str | None, float | None]:
    if prediction is None or not prediction.output.get("suggestions"):
        return None, None
    first = prediction.output["suggestions"][0]
    return first["target_code"], first["confidence"]


def _automatic_method(prediction: Prediction | None) -> Literal["memory", "model"]:
    return "memory" if prediction is not None and prediction.output.get("method") == "memory" else "model"


def _refuse_contradiction(decision: MappingDecision, standing: Mapping, *, automatic: bool) -> None:
    if standing.target_code == decision.target_code:
        return
    if automatic and standing.method in PERSON:
        raise ConflictError(
            f"{decision.source_code!r} was mapped to {standing.target_code!r} by {standing.decided_by!r}; "
            "an automatic decision never overrides a person"
        )
    if decision.action == "accept":
        raise ConflictError(
            f"{decision.source_code!r} is mapped to {standing.target_code!r} already; use /v1/mappings/correct to "
            "change it"
        )


def _tell(session: Session, mapping: Mapping) -> None:
    enqueue(
        session,
        company_id=mapping.company_id,
        record_key=f"mapping/{subject_of((mapping.kind, mapping.source_code, mapping.system))}",
        command=COMMAND,
        payload=answer_of(mapping),
        idempotency_key=mapping.decision_id,
    )


def _before(session: Session, company_id: str, item: Item, decision_id: str) -> dict[str, Any] | None:
    entries = session.scalars(
        select(AuditEntry)
        .where(
            AuditEntry.company_id == company_id,
            AuditEntry.subject_type == "mapping",
            AuditEntry.subject_id == subject_of(item),
        )
        .order_by(AuditEntry.id)  # the first is the decision's own; a refusal writes another one under its id
    )
    for entry in entries:
        if entry.after is not None and entry.after["decision_id"] == decision_id:
            return entry.before
    return None
