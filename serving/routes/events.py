"""``POST /v1/events``: what happened outside, in batches."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from crewflow_assets.contract import Contract, Identifier
from crewflow_assets.errors import FieldProblem
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.store.database import transaction
from serving.caller import companies_of
from serving.problems import Problem
from serving.runtime import Runtime

MOST_EVENTS = 1000

EXAMPLE = {
    "event_id": "qbo-sync-2026-03-02-0001",
    "kind": "sync_attempt",
    "company_id": "c-17",
    "occurred_at": "2026-03-02T14:00:00Z",
    "payload": {"integration_id": "i-3", "system": "quickbooks", "ok": False, "status_code": 429},
}


class PostedEvent(EventIn):
    """One event; ``event_id`` is the sender's own and makes a repetition harmless."""

    company_id: Identifier | None = Field(  # type: ignore[assignment]  # filled in before it is recorded
        None, description="Absent: the key's company."
    )


class PostedEvents(Contract):
    """A batch of events, recorded whole or not at all."""

    events: Annotated[list[PostedEvent], Field(max_length=MOST_EVENTS, examples=[[EXAMPLE]])]


class Recorded(Contract):
    """How many were new, and how many had been recorded before."""

    recorded: int = Field(examples=[1])
    repeated: int = Field(examples=[0])


def add_routes(app: FastAPI, runtime: Runtime) -> None:  # noqa: ARG001  # all are called alike
    """Add the route of events."""

    @app.post("/v1/events", tags=["events"], summary="Record up to 1,000 events")
    def post_events(body: PostedEvents) -> Recorded:
        """Record events once, whole or not at all, and let them act (a mapping decision changes its mapping)."""
        companies = companies_of(
            (event.company_id, ("events", index, "company_id")) for index, event in enumerate(body.events)
        )
        missing = [
            FieldProblem(("events", index, "company_id"), "missing; a platform key belongs to no company")
            for index, company in enumerate(companies)
            if company is None
        ]
        if missing:
            raise Problem(400, f"{len(missing)} events name no company; nothing was recorded", missing)
        events: list[EventIn] = [
            event.model_copy(update={"company_id": company})
            for event, company in zip(body.events, companies, strict=True)
        ]
        with transaction() as session:
            counts = record_events(session, events, handlers=EVENT_HANDLERS)
        return Recorded(recorded=counts.recorded, repeated=counts.repeated)
