"""Conflicts between CrewFlow and the accounting side: reported, decided, taken back, and how well that goes."""

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.conflict_resolution import actions, metrics, switches
from crewflow_assets.conflict_resolution.bulk import Selection, undo_many
from crewflow_assets.conflict_resolution.contract import (
    ConflictRequest,
    ConflictResponse,
)
from crewflow_assets.conflict_resolution.queue import answer_of, page_of
from crewflow_assets.conflict_resolution.standing import OPEN, inputs_of
from crewflow_assets.contract import Contract, Identifier
from crewflow_assets.errors import NotFoundError, NotReadyError
from crewflow_assets.ingest.event_kinds import ConflictRecorded
from crewflow_assets.store.conflict_tables import Conflict
from crewflow_assets.store.database import reading
from serving.caller import company_of, optional_company_of
from serving.decisions import IdempotencyKey, decide_once
from serving.routes.conflict_types import (
    BulkUndo,
    BulkUndone,
    Choice,
    CompanyQuery,
    ConflictList,
    ConflictQuery,
    ConflictState,
    Metrics,
    MetricsQuery,
    Report,
    Switch,
    SwitchList,
    SwitchSetting,
    Undo,
)
from serving.runtime import Runtime

MODEL = "conflict_resolution"
AREA = "conflicts"

ConflictId = Annotated[Identifier, Path(alias="id", description="The conflict.", examples=["x-81"])]


def add_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes about conflicts."""

    @app.post("/v1/conflicts", tags=["conflicts"], summary="Report a conflict; the model decides where it may")
    def report(body: Report, response: Response, idempotency_key: IdempotencyKey = None) -> ConflictState:
        """Record the conflict, then let the model decide if the switch allows it and it is sure enough."""
        company_id = company_of(body.company_id)
        told = _recorded(body, body.conflict_id or _made_id(company_id, idempotency_key))

        def record(session: Session) -> dict[str, Any]:
            return actions.record(session, company_id=company_id, conflict=told, decided_by="api")

        answer = _once("report", company_id, body, idempotency_key, response, record)
        if answer["state"] != OPEN or answer["blind"]:
            return ConflictState.model_validate(answer)
        return _automatically(runtime, company_id, told.conflict_id, body, idempotency_key, response, required=False)

    @app.get("/v1/conflicts", tags=["conflicts"], summary="The conflicts of a company, oldest and largest first")
    def list_conflicts(query: Annotated[ConflictQuery, Query()]) -> ConflictList:
        """List conflicts, by default those still to be decided."""
        company_id = company_of(query.company_id)
        with reading() as session:
            page = page_of(
                session,
                company_id=company_id,
                state=query.state,
                conflict_type=query.type,
                limit=query.limit,
                after=query.after,
            )
        if query.suggestions:
            _suggest(runtime, company_id, page["items"])
        return ConflictList.model_validate(page)

    @app.get("/v1/conflicts/metrics", tags=["conflicts"], summary="How good automatic resolution is")
    def show_metrics(query: Annotated[MetricsQuery, Query()]) -> Metrics:
        """Count what was decided and reviewed in the last days; nobody's silence counts as acceptance."""
        company_id = company_of(query.company_id)
        with reading() as session:
            found = metrics.metrics_of(
                session, company_id=company_id, at=clock.now(), days=query.days, conflict_type=query.type
            )
        return Metrics.model_validate(found)

    @app.get("/v1/conflicts/switches", tags=["conflicts"], summary="Where conflicts are decided automatically")
    def list_switches(query: Annotated[CompanyQuery, Query()]) -> SwitchList:
        """Show the switch of each conflict type; nothing is automatic before someone says so."""
        company_id = company_of(query.company_id)
        with reading() as session:
            return SwitchList.model_validate({"items": switches.all_of(session, company_id)})

    @app.post("/v1/conflicts/switches", tags=["conflicts"], summary="Set where conflicts are decided automatically")
    def set_switch(body: SwitchSetting, response: Response, idempotency_key: IdempotencyKey = None) -> Switch:
        """Set a switch. One that has stopped itself starts again, and what was decided before no longer counts."""
        company_id = company_of(body.company_id)

        def act(session: Session) -> dict[str, Any]:
            return switches.set_switch(
                session,
                company_id=company_id,
                conflict_type=body.conflict_type,
                mode=body.mode,
                daily_cap=body.daily_cap,
                decided_by=body.decided_by,
                at=clock.now(),
            )

        return Switch.model_validate(_once("switch", company_id, body, idempotency_key, response, act))

    @app.post("/v1/conflicts/undo", tags=["conflicts"], summary="Take many automatic decisions back")
    def undo_in_bulk(body: BulkUndo, response: Response, idempotency_key: IdempotencyKey = None) -> BulkUndone:
        """Take back what the model decided, by version, time, company and type, some thousand in a transaction."""
        company_id = optional_company_of(body.company_id)
        scope = company_id or "*"

        def begin(_: Session) -> dict[str, Any]:
            return {"until": clock.now().isoformat()}

        Selection(model_version=body.model_version, decided_after=body.decided_after).check()
        begun = _once("undo", scope, body, idempotency_key, response, begin, area=f"{AREA}/bulk")
        until = datetime.fromisoformat(begun["until"])  # a request that is repeated touches no later decision
        chosen = Selection(
            company_id=company_id,
            model_version=body.model_version,
            conflict_type=body.conflict_type,
            decided_after=body.decided_after,
            decided_before=min(body.decided_before or until, until),
        )
        done = undo_many(chosen, decided_by=body.decided_by, dry_run=body.dry_run)
        return BulkUndone.model_validate(_once("undo", scope, body, idempotency_key, response, lambda _: done))

    @app.post("/v1/conflicts/{id}/resolve", tags=["conflicts"], summary="Decide a conflict")
    def resolve(
        conflict_id: ConflictId, body: Choice, response: Response, idempotency_key: IdempotencyKey = None
    ) -> ConflictState:
        """Let a person's choice stand, or let the model decide. 409 where a person decided otherwise already."""
        company_id = company_of(body.company_id)
        chosen = body.resolution
        if chosen is None:
            return _automatically(runtime, company_id, conflict_id, body, idempotency_key, response, required=True)

        def act(session: Session) -> dict[str, Any]:
            return actions.decide(
                session,
                company_id=company_id,
                conflict_id=conflict_id,
                resolution=chosen,
                value=body.value,
                decided_by=body.decided_by,
                prediction_id=body.prediction_id,
            )

        return ConflictState.model_validate(
            _once(f"resolve/{conflict_id}", company_id, body, idempotency_key, response, act)
        )

    @app.post("/v1/conflicts/{id}/undo", tags=["conflicts"], summary="Take a decision back")
    def undo(
        conflict_id: ConflictId, body: Undo, response: Response, idempotency_key: IdempotencyKey = None
    ) -> ConflictState:
        """Give both sides back what they held. 409 where the record was edited since, or nothing stands."""
        company_id = company_of(body.company_id)

        def act(session: Session) -> dict[str, Any]:
            return actions.undo(session, company_id=company_id, conflict_id=conflict_id, decided_by=body.decided_by)

        return ConflictState.model_validate(
            _once(f"undo/{conflict_id}", company_id, body, idempotency_key, response, act)
        )


def _once(
    route: str,
    company_id: str,
    body: Contract,
    key: str | None,
    response: Response,
    act: Callable[[Session], dict[str, Any]],
    *,
    area: str = AREA,
) -> dict[str, Any]:
    return decide_once(area=area, route=route, company_id=company_id, body=body, key=key, response=response, act=act)


def _automatically(
    runtime: Runtime,
    company_id: str,
    conflict_id: str,
    body: Contract,
    key: str | None,
    response: Response,
    *,
    required: bool,
) -> ConflictState:
    """Ask the model outside of any transaction, then let its answer stand if it may.

    Raises:
        NotReadyError: there is no model, and one is ``required``.
    """
    with reading() as session:
        conflict = session.scalar(
            select(Conflict).where(Conflict.company_id == company_id, Conflict.conflict_id == conflict_id)
        )
        if conflict is None:
            raise NotFoundError(f"company {company_id!r} has no conflict {conflict_id!r}; report it first")
        inputs = inputs_of(conflict)
        mode = switches.switch_of(session, company_id, conflict.conflict_type).mode
    asked: ConflictResponse | None = None
    missing = f"automatic resolution of {conflict.conflict_type} is set to 'off'"
    request = _request(company_id, inputs)
    if isinstance(request, str):
        missing = f"the model cannot be asked: {request}"
    elif mode != "off":
        try:
            [asked] = _predict(runtime, [request])
        except NotReadyError as error:
            if required:
                raise
            missing = str(error)

    def act(session: Session) -> dict[str, Any]:
        if asked is None:
            found = session.get_one(Conflict, conflict.id)
            return {**answer_of(found, None), "review_reason": missing, "suggestions": None}
        proposal = actions.Proposal(
            inputs=inputs,
            action=asked.recommended_resolution.action,
            confidence=asked.confidence,
            auto_resolve=asked.auto_resolve,
            reason=asked.reason,
            model_version=asked.model_version,
            prediction_id=asked.prediction_id,
        )
        answer, why = actions.decide_automatically(
            session, company_id=company_id, conflict_id=conflict_id, proposal=proposal
        )
        shown = why is not None and not answer["blind"]
        suggestions = [one.model_dump() for one in asked.suggestions] if shown else None
        return {**answer, "review_reason": why, "suggestions": suggestions}

    return ConflictState.model_validate(
        _once(f"automatic/{conflict_id}", company_id, body, key, response, act, area=f"{AREA}/automatic")
    )


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


def _suggest(runtime: Runtime, company_id: str, items: list[dict[str, Any]]) -> None:
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


def _recorded(body: Report, conflict_id: str) -> ConflictRecorded:
    fields = body.model_dump(exclude={"company_id", "conflict_id", "crewflow_value", "external_value"})
    values = {"crewflow": body.crewflow_value, "external": body.external_value}
    return ConflictRecorded.model_validate({**fields, "conflict_id": conflict_id, "values": values})


def _made_id(company_id: str, key: str | None) -> str:
    """Return the id of a conflict that has none: the same for a request that is repeated."""
    return f"x-{blake2b(f'{company_id}/{key}'.encode(), digest_size=12).hexdigest()}"
