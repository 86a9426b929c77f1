"""Decisions over HTTP: taken once for an idempotency key, in one transaction with the answer that is kept."""

from collections.abc import Callable
from dataclasses import dataclass
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


class _Named(TypedDict):
    scope: str
    key: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that is carried out once for its idempotency key.

    Attributes:
        area: Within which the company's keys are unique, such as ``mappings``.
        route: What is asked for; the same key on another route is a conflict.
        company_id: Whose record it is.
        body: The request.
        key: The header's value.
        response: The response to come, for its headers.
    """

    area: str
    route: str
    company_id: str
    body: Contract
    key: str | None
    response: Response

    def once(self, act: Act) -> dict[str, Any]:
        """Do what is asked for and return its answer; or the answer that was given before, marked so.

        Raises:
            Problem: 400 without a key.
            ConflictError: the key was used for another request.
        """
        named = self._named()
        with transaction() as session:
            answer, repeated = answer_once(session, **named, act=lambda: act(session))
        return self._marked(answer) if repeated else answer

    def prepared(self, prepare: Callable[[], Act]) -> dict[str, Any]:
        """As ``once``, where something is to be asked or done outside of the transaction first, such as a model.

        Args:
            prepare: Returns what then acts; it is not called for a request that was answered before.

        Raises:
            Problem, ConflictError: as there.
        """
        with reading() as session:
            answer = stored_answer(session, **self._named())
        return self.once(prepare()) if answer is None else self._marked(answer)

    def _named(self) -> _Named:
        if self.key is None:
            raise Problem(
                400,
                "the header Idempotency-Key is missing; give each decision a key of its own and repeat it when "
                "retrying",
                [FieldProblem(("header", "Idempotency-Key"), "missing; this header is required")],
            )
        request = {**self.body.model_dump(mode="json"), "company_id": self.company_id, "route": self.route}
        return {"scope": f"{self.area}/{self.company_id}", "key": self.key, "request": request}

    def _marked(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.response.headers["Idempotent-Replayed"] = "true"
        return answer
