"""The mappings of cost codes and projects: review queue, accept, correct, undo."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Response
from pydantic import AwareDatetime, Field, StrictBool, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.contract import Contract, Identifier, Name, PredictionId, System
from crewflow_assets.cost_code_mapping import actions
from crewflow_assets.cost_code_mapping.contract import Kind, MappingRequest, Method, Suggestion
from crewflow_assets.cost_code_mapping.queue import review_queue
from crewflow_assets.errors import FieldProblem
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Account, Company, Prediction
from serving.caller import company_of, current
from serving.decisions import IdempotencyKey, KeyedRequest
from serving.problems import Problem
from serving.runtime import Runtime

AREA = "mappings"
MOST_ITEMS = 200
LOGGED_WITHIN_SECONDS = 2.0


class Decision(Contract):
    """Which account an item belongs to, and who says so."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.", examples=["c-17"])
    kind: Kind = "cost_code"
    system: System
    source_code: Identifier = Field(examples=["ELEC-105"])
    target_code: Name = Field(examples=["50100"])
    decided_by: Name = Field(description="The person, as CrewFlow knows them.", examples=["u-204"])
    prediction_id: PredictionId | None = Field(
        None, description="The prediction that was shown, if one was.", examples=["p-4f0c6e1d9b7a42e8a1b2c3d4"]
    )


class Acceptance(Decision):
    """A suggestion that is taken over, by a person or by the platform where ``auto_map`` was true."""

    automatic: StrictBool = Field(False, description="True where no person looked: `auto_map` decided.")


class Undo(Contract):
    """A decision to take back."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.", examples=["c-17"])
    decision_id: Identifier = Field(examples=["d-8a3b5c7d9e1f20415263a4b5"])
    decided_by: Name = Field(description="The person, as CrewFlow knows them.", examples=["u-204"])


class MappingState(Contract):
    """Where an item now stands."""

    decision_id: str = Field(examples=["d-8a3b5c7d9e1f20415263a4b5"])
    company_id: str = Field(examples=["c-17"])
    kind: Kind
    system: str = Field(examples=["quickbooks"])
    source_code: str = Field(examples=["ELEC-105"])
    target_code: str | None = Field(examples=["50100"])
    state: Literal["review", "mapped"] = Field(examples=["mapped"])
    method: str | None = Field(description="person, memory, model or import.", examples=["person"])
    decided_by: str = Field(examples=["u-204"])
    decided_at: AwareDatetime = Field(examples=["2026-03-02T14:00:00Z"])


class Shown(Contract):
    """What the champion suggests for an item; empty where the item is to be decided blind."""

    prediction_id: str = Field(examples=["p-4f0c6e1d9b7a42e8a1b2c3d4"])
    model_version: str = Field(examples=["1.3"])
    method: Method | None = Field(description="Null where it is withheld.", examples=["ask"])
    withheld: bool = Field(description="Decide without a suggestion: it measures how good suggestions are.")
    suggestions: list[Suggestion]


class QueueItem(Contract):
    """An item with its mapping, if it has one."""

    kind: Kind
    source_code: str = Field(examples=["ELEC-105"])
    name: str = Field(examples=["Rough Electrical"])
    description: str | None = None
    group: str | None = Field(None, examples=["Electrical"])
    project_type: str | None = None
    state: Literal["review", "mapped"] = Field(examples=["review"])
    target_code: str | None = None
    target_name: str | None = None
    method: str | None = None
    decision_id: str | None = None
    decided_by: str | None = None
    decided_at: AwareDatetime | None = None
    reopened_reason: str | None = Field(None, description="Why a mapped item waits for review again.")
    prediction: Shown | None = Field(None, description="With `suggestions=true`, for items in review.")


class Queue(Contract):
    """A page of items, and the progress over all of them ("47 of 200")."""

    company_id: str = Field(examples=["c-17"])
    system: str = Field(examples=["quickbooks"])
    mapped: int = Field(examples=[47])
    total: int = Field(examples=[200])
    items: list[QueueItem]
    next: str | None = Field(description="`after` of the next page; null on the last.", examples=["ELEC-105"])


class QueueQuery(Contract):
    """What part of the queue."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.")
    system: System | None = Field(None, description="Absent: the company's only system.")
    kind: Kind = "cost_code"
    state: Literal["review", "mapped", "all"] = "review"
    limit: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 50
    after: Identifier | None = Field(None, description="`next` of the page before.")
    suggestions: bool = Field(False, description="Attach the champion's suggestions to items in review.")


def add_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes about mappings."""

    @app.get("/v1/mappings", tags=["mappings"], summary="The review queue of a company, with progress")
    def list_mappings(query: Annotated[QueueQuery, Query()]) -> Queue:
        """List a company's cost codes or projects in the order of their codes, by default those still to review."""
        company_id = company_of(query.company_id)
        with reading() as session:
            system = query.system or _only_system(session, company_id)
            page = review_queue(
                session,
                company_id=company_id,
                kind=query.kind,
                system=system,
                state=query.state,
                limit=query.limit,
                after=query.after,
            )
            company = session.get_one(Company, company_id)
        queue = Queue.model_validate({**page, "company_id": company_id, "system": system})
        return _with_suggestions(runtime, queue, company.industry) if query.suggestions else queue

    @app.post("/v1/mappings/accept", tags=["mappings"], summary="Map an item as suggested")
    def accept(body: Acceptance, response: Response, idempotency_key: IdempotencyKey = None) -> MappingState:
        """Map an open item, or confirm what stands. 409 where another account was decided."""
        return _decide(runtime, "accept", body, idempotency_key, response, automatic=body.automatic)

    @app.post("/v1/mappings/correct", tags=["mappings"], summary="Map an item to another account")
    def correct(body: Decision, response: Response, idempotency_key: IdempotencyKey = None) -> MappingState:
        """Map an item to the account that a person chose, whatever stood there; the next suggestion knows it."""
        return _decide(runtime, "correct", body, idempotency_key, response, automatic=False)

    @app.post("/v1/mappings/undo", tags=["mappings"], summary="Take a decision back")
    def undo(body: Undo, response: Response, idempotency_key: IdempotencyKey = None) -> MappingState:
        """Restore what stood before the decision. 409 where the item was decided again since."""
        company_id = company_of(body.company_id)

        def act(session: Session) -> dict[str, Any]:
            return actions.undo(
                session, company_id=company_id, decision_id=body.decision_id, decided_by=body.decided_by
            )

        asked = KeyedRequest(AREA, "undo", company_id, body, idempotency_key, response)
        return MappingState.model_validate(asked.once(act))


def _decide(
    runtime: Runtime,
    action: Literal["accept", "correct"],
    body: Decision,
    key: str | None,
    response: Response,
    *,
    automatic: bool,
) -> MappingState:
    company_id = company_of(body.company_id)
    if body.prediction_id is not None:
        # The prediction may have been answered a moment ago; its decision is to know it.
        runtime.log.flush(within_seconds=LOGGED_WITHIN_SECONDS)

    def act(session: Session) -> dict[str, Any]:
        _own_prediction(session, body.prediction_id, company_id)
        return actions.decide(
            session,
            company_id=company_id,
            action=action,
            kind=body.kind,
            system=body.system,
            source_code=body.source_code,
            target_code=body.target_code,
            decided_by=body.decided_by,
            automatic=automatic,
            prediction_id=body.prediction_id,
        )

    asked = KeyedRequest(AREA, action, company_id, body, key, response)
    return MappingState.model_validate(asked.once(act))


def _own_prediction(session: Session, prediction_id: str | None, company_id: str) -> None:
    """Refuse a prediction of another company; one of no company was a platform key's, which may name it."""
    prediction = session.get(Prediction, prediction_id) if prediction_id else None
    allowed = {company_id, current().company_id}
    if prediction is not None and prediction.company_id not in allowed:
        text = f"prediction {prediction_id!r} was not made for company {company_id!r}; send the one that was shown"
        raise Problem(403, text, [FieldProblem(("prediction_id",), text)])


def _only_system(session: Session, company_id: str) -> str:
    systems = session.scalars(
        select(Account.system).where(Account.company_id == company_id).distinct().order_by(Account.system)
    ).all()
    if len(systems) == 1:
        return systems[0]
    told = f"it has charts of {', '.join(systems)}" if systems else "it has no chart yet"
    text = f"missing, and company {company_id!r} does not have exactly one: {told}"
    raise Problem(400, f"system is {text}", [FieldProblem(("system",), text)])


def _with_suggestions(runtime: Runtime, queue: Queue, industry: str) -> Queue:
    requests: dict[int, MappingRequest] = {}
    for index, item in enumerate(queue.items):
        if item.state == "review" and (request := _request(queue, item, industry)) is not None:
            requests[index] = request
    try:
        answers = runtime.predictions[actions.MODEL].batch(list(requests.values()))
    except Problem as problem:
        if problem.status != 400:
            raise
        text = f"no suggestions for {queue.system} mappings of {queue.company_id!r}: {problem.detail}"
        raise Problem(400, text, [FieldProblem(("system",), text)]) from problem
    items = list(queue.items)
    for index, answer in zip(requests, answers, strict=True):
        told = answer.model_dump()
        withheld = told["withheld"]
        shown = Shown(
            prediction_id=answer.prediction_id,
            model_version=answer.model_version,
            method=None if withheld else told["method"],
            withheld=withheld,
            suggestions=[] if withheld else told["suggestions"],
        )
        items[index] = items[index].model_copy(update={"prediction": shown})
    return queue.model_copy(update={"items": items})


def _request(queue: Queue, item: QueueItem, industry: str) -> MappingRequest | None:
    try:
        return MappingRequest(
            kind=item.kind,
            crewflow_cost_code=item.source_code,
            cost_code_name=item.name,
            cost_code_description=item.description,
            cost_code_group=item.group,
            crewflow_project_type=item.project_type,
            company_industry=industry,
            company_id=queue.company_id,
            target_system=queue.system,
        )
    except ValidationError:  # stored before the contract's limits; it is listed without suggestions
        return None
