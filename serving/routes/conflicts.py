"""Conflicts between CrewFlow and the accounting side: reported, decided, taken back, and how well that goes."""

from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.conflict_resolution import actions, metrics, switches
from crewflow_assets.conflict_resolution.bulk import Selection, undo_many
from crewflow_assets.conflict_resolution.queue import page_of
from crewflow_assets.conflict_resolution.standing import OPEN
from crewflow_assets.contract import Identifier
from crewflow_assets.ingest.event_kinds import ConflictRecorded
from crewflow_assets.store.database import reading
from serving.caller import company_of, optional_company_of
from serving.decisions import Act, IdempotencyKey, KeyedRequest
from serving.routes.conflict_model import AREA, automatically, suggest
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

        answer = KeyedRequest(AREA, "report", company_id, body, idempotency_key, response).once(record)
        if answer["state"] != OPEN or answer["blind"]:
            return ConflictState.model_validate(answer)
        return automatically(runtime, company_id, told.conflict_id, body, idempotency_key, response, required=False)

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
            suggest(runtime, company_id, page["items"])
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

        asked = KeyedRequest(AREA, "switch", company_id, body, idempotency_key, response)
        return Switch.model_validate(asked.once(act))

    @app.post("/v1/conflicts/undo", tags=["conflicts"], summary="Take many automatic decisions back")
    def undo_in_bulk(body: BulkUndo, response: Response, idempotency_key: IdempotencyKey = None) -> BulkUndone:
        """Take back what the model decided, by version, time, company and type, some thousand in a transaction."""
        company_id = optional_company_of(body.company_id)
        scope = company_id or "*"

        def begin(_: Session) -> dict[str, Any]:
            return {"until": clock.now().isoformat()}

        Selection(model_version=body.model_version, decided_after=body.decided_after).check()
        asked = KeyedRequest(AREA, "undo", scope, body, idempotency_key, response)
        begun = replace(asked, area=f"{AREA}/bulk").once(begin)
        until = datetime.fromisoformat(begun["until"])  # a request that is repeated touches no later decision
        chosen = Selection(
            company_id=company_id,
            model_version=body.model_version,
            conflict_type=body.conflict_type,
            decided_after=body.decided_after,
            decided_before=min(body.decided_before or until, until),
        )

        def carry_out() -> Act:
            done = undo_many(chosen, decided_by=body.decided_by, dry_run=body.dry_run)
            return lambda _: done

        return BulkUndone.model_validate(asked.prepared(carry_out))

    @app.post("/v1/conflicts/{id}/resolve", tags=["conflicts"], summary="Decide a conflict")
    def resolve(
        conflict_id: ConflictId, body: Choice, response: Response, idempotency_key: IdempotencyKey = None
    ) -> ConflictState:
        """Let a person's choice stand, or let the model decide. 409 where a person decided otherwise already."""
        company_id = company_of(body.company_id)
        chosen = body.resolution
        if chosen is None:
            return automatically(runtime, company_id, conflict_id, body, idempotency_key, response, required=True)

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

        asked = KeyedRequest(AREA, f"resolve/{conflict_id}", company_id, body, idempotency_key, response)
        return ConflictState.model_validate(asked.once(act))

    @app.post("/v1/conflicts/{id}/undo", tags=["conflicts"], summary="Take a decision back")
    def undo(
        conflict_id: ConflictId, body: Undo, response: Response, idempotency_key: IdempotencyKey = None
    ) -> ConflictState:
        """Give both sides back what they held. 409 where the record was edited since, or nothing stands."""
        company_id = company_of(body.company_id)

        def act(session: Session) -> dict[str, Any]:
            return actions.undo(session, company_id=company_id, conflict_id=conflict_id, decided_by=body.decided_by)

        asked = KeyedRequest(AREA, f"undo/{conflict_id}", company_id, body, idempotency_key, response)
        return ConflictState.model_validate(asked.once(act))


def _recorded(body: Report, conflict_id: str) -> ConflictRecorded:
    fields = body.model_dump(exclude={"company_id", "conflict_id", "crewflow_value", "external_value"})
    values = {"crewflow": body.crewflow_value, "external": body.external_value}
    return ConflictRecorded.model_validate({**fields, "conflict_id": conflict_id, "values": values})


def _made_id(company_id: str, key: str | None) -> str:
    """Return the id of a conflict that has none: the same for a request that is repeated."""
    return f"x-{blake2b(f'{company_id}/{key}'.encode(), digest_size=12).hexdigest()}"
