"""Decisions over HTTP: taken once for an idempotency key, in one transaction with the answer that is kept."""

from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from fastapi import Header, Response
from sqlalchemy.orm import Session

from crewflow_assets.contract import Contract
from crewflow_assets.errors import FieldProblem
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.idempotency import KEY_LENGTH, answer_once, stored_answer
from serving.problems import Problem

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description=f"Required: 1 to {KEY_LENGTH} printable characters that the sender gives this one decision.",
        examples=["6c1f0a52-accept-ELEC-105"],
    ),
]

Act = Callable[[Session], dict[str, Any]]


def decide_once(
    *,
    area: str,
    route: str,
    company_id: str,
    body: Contract,
    key: str | None,
    response: Response,
    act: Act,
) -> dict[str, Any]:
    """Act once for an idempotency key of the company, and mark the answer where it was given before.

    Args:
        area: Within which the company's keys are unique, such as ``mappings``.
        route: What is asked for; the same key on another route is a conflict.
        company_id: Whose record it is.
        body: The request.
        key: The header's value.
        response: The response to come, for its headers.
        act: Does what is asked for and returns the answer.

    Raises:
        Problem: 400 without a key.
        ConflictError: the key was used for another request.
    """
    named = _named(area, route, company_id, body, key)
    with transaction() as session:
        answer, repeated = answer_once(session, **named, act=lambda: act(session))
    if repeated:
        _mark(response)
    return answer


def decide_prepared(
    *,
    area: str,
    route: str,
    company_id: str,
    body: Contract,
    key: str | None,
    response: Response,
    prepare: Callable[[], Act],
) -> dict[str, Any]:
    """As ``decide_once``, where something is to be asked or done outside of the transaction first, such as a model.

    Args:
        area: As there, like the following.
        route: The route.
        company_id: Whose record it is.
        body: The request.
        key: The header's value.
        response: The response to come.
        prepare: Returns what then acts; it is not called for a request that was answered before.

    Raises:
        Problem, ConflictError: as there.
    """
    with reading() as session:
        answer = stored_answer(session, **_named(area, route, company_id, body, key))
    if answer is not None:
        _mark(response)
        return answer
    return decide_once(
        area=area, route=route, company_id=company_id, body=body, key=key, response=response, act=prepare()
    )


class _Named(TypedDict):
    scope: str
    key: str
    request: dict[str, Any]


def _named(area: str, route: str, company_id: str, body: Contract, key: str | None) -> _Named:
    if key is None:
        raise Problem(
            400,
            "the header Idempotency-Key is missing; give each decision a key of its own and repeat it when retrying",
            [FieldProblem(("header", "Idempotency-Key"), "missing; this header is required")],
        )
    request = {**body.model_dump(mode="json"), "company_id": company_id, "route": route}
    return {"scope": f"{area}/{company_id}", "key": key, "request": request}


def _mark(response: Response) -> None:
    response.headers["Idempotent-Replayed"] = "true"
