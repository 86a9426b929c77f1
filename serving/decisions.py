"""Decisions over HTTP: taken once for an idempotency key, in one transaction with the answer that is kept."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header, Response
from sqlalchemy.orm import Session

from crewflow_assets.contract import Contract
from crewflow_assets.errors import FieldProblem
from crewflow_assets.store.database import transaction
from crewflow_assets.store.idempotency import KEY_LENGTH, answer_once
from serving.problems import Problem

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description=f"Required: 1 to {KEY_LENGTH} printable characters that the sender gives this one decision.",
        examples=["6c1f0a52-accept-ELEC-105"],
    ),
]


def decide_once(
    *,
    area: str,
    route: str,
    company_id: str,
    body: Contract,
    key: str | None,
    response: Response,
    act: Callable[[Session], dict[str, Any]],
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
    if key is None:
        raise Problem(
            400,
            "the header Idempotency-Key is missing; give each decision a key of its own and repeat it when retrying",
            [FieldProblem(("header", "Idempotency-Key"), "missing; this header is required")],
        )
    request = {**body.model_dump(mode="json"), "company_id": company_id, "route": route}
    with transaction() as session:
        answer, repeated = answer_once(
            session, scope=f"{area}/{company_id}", key=key, request=request, act=lambda: act(session)
        )
    if repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return answer
