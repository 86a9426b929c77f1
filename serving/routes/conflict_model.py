"""What the model says of conflicts: asked outside of any transaction, and let stand where it may."""

from typing import Any

from fastapi import Response
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution import actions, switches
from crewflow_assets.conflict_resolution.contract import ConflictRequest, ConflictResponse
from crewflow_assets.conflict_resolution.standing import inputs_of
from crewflow_assets.contract import Contract
from crewflow_assets.errors import NotFoundError, NotReadyError
from crewflow_assets.store.conflict_tables import Conflict
from crewflow_assets.store.database import reading
from serving.decisions import Act, KeyedRequest
from serving.routes.conflict_types import ConflictState
from serving.runtime import Runtime

MODEL = "conflict_resolution"
AREA = "conflicts"


def automatically(
    runtime: Runtime,
    company_id: str,
    conflict_id: str,
    body: Contract,
    key: str | None,
    response: Response,
    *,
    required: bool,
) -> ConflictState:
    """Ask the model outside of any transaction, then let its answer stand if it may; a repeated request asks nothing.

    Args:
        runtime: Has the model.
        company_id: Whose conflict.
        conflict_id: Which one.
        body: The request.
        key: Its idempotency key.
        response: Where it is said that it was answered before.
        required: The model was asked for, and not only the conflict reported.

    Raises:
        NotFoundError: there is no such conflict.
        NotReadyError: there is no model, and one is ``required``.
        ConflictError: the conflict was decided already, and the model is ``required``.
    """

    def ask() -> Act:
        inputs, asked, missing = _asked(runtime, company_id, conflict_id, required=required)

        def act(session: Session) -> dict[str, Any]:
            answer, why = actions.decide_automatically(
                session,
                company_id=company_id,
                conflict_id=conflict_id,
                proposal=None if asked is None else _proposal(inputs, asked),
                reported=not required,
            )
            if asked is None:
                return {**answer, "review_reason": None if answer["resolution"] else missing, "suggestions": None}
            shown = why is not None and not answer["blind"]
            suggestions = [one.model_dump() for one in asked.suggestions] if shown else None
            return {**answer, "review_reason": why, "suggestions": suggestions}

        return act

    request = KeyedRequest(f"{AREA}/automatic", f"automatic/{conflict_id}", company_id, body, key, response)
    return ConflictState.model_validate(request.prepared(ask))


def _asked(
    runtime: Runtime, company_id: str, conflict_id: str, *, required: bool
) -> tuple[dict[str, Any], ConflictResponse | None, str]:
    """Return what the model is told, what it says, and why it says nothing where it does not."""
    with reading() as session:
        conflict = session.scalar(
            select(Conflict).where(Conflict.company_id == company_id, Conflict.conflict_id == conflict_id)
        )
        if conflict is None:
            raise NotFoundError(f"company {company_id!r} has no conflict {conflict_id!r}; report it first")
        inputs = inputs_of(conflict)
        mode = switches.switch_of(session, company_id, conflict.conflict_type).mode
    request = _request(company_id, inputs)
    if isinstance(request, str):
        return inputs, None, f"the model cannot be asked: {request}"
    if mode == "off":
        return inputs, None, f"automatic resolution of {conflict.conflict_type} is set to 'off'"
    try:
        [said] = _predict(runtime, [request])
    except NotReadyError as error:
        if required:
            raise
        return inputs, None, str(error)
    return inputs, said, ""


def _proposal(inputs: dict[str, Any], said: ConflictResponse) -> actions.Proposal:
    return actions.Proposal(
        inputs=inputs,
        action=said.recommended_resolution.action,
        confidence=said.confidence,
        auto_resolve=said.auto_resolve,
        reason=said.reason,
        model_version=said.model_version,
        prediction_id=said.prediction_id,
    )


def suggest(runtime: Runtime, company_id: str, items: list[dict[str, Any]]) -> None:
    """Attach suggestions to open conflicts that are not to be decided blind, where the switch is not off."""
    with reading() as session:
        off = {s["conflict_type"] for s in switches.all_of(session, company_id) if s["mode"] == "off"}
        shown = {
            item["conflict_id"]: item
            for item in items
            if item["resolution"] is None and not item["blind"] and item["conflict_type"] not in off
        }
        found = session.scalars(
            select(Conflict).where(Conflict.company_id == company_id, Conflict.conflict_id.in_(list(shown)))
        ).all()
        asked = {conflict.conflict_id: _request(company_id, inputs_of(conflict)) for conflict in found}
    requests = {name: request for name, request in asked.items() if not isinstance(request, str)}
    if not requests:
        return
    for name, answer in zip(requests, _predict(runtime, list(requests.values())), strict=True):
        shown[name] |= {
            "suggestions": [one.model_dump() for one in answer.suggestions],
            "reason": answer.reason,
            "confidence": answer.confidence,
            "prediction_id": answer.prediction_id,
            "model_version": answer.model_version,
        }


def _predict(runtime: Runtime, requests: list[ConflictRequest]) -> list[ConflictResponse]:
    predictions = runtime.predictions.get(MODEL)
    if predictions is None:
        raise NotReadyError(f"this service has no model {MODEL!r}; a person decides, or ask the gateway")
    return [ConflictResponse.model_validate(one.model_dump()) for one in predictions.singly(requests)]


def _request(company_id: str, inputs: dict[str, Any]) -> ConflictRequest | str:
    """Return what the model is asked, or why it cannot be: an edit may have made both sides agree."""
    try:
        return ConflictRequest.model_validate({**inputs, "company_id": company_id})
    except ValidationError as error:
        return "; ".join(found["msg"].removeprefix("Value error, ") for found in error.errors())
