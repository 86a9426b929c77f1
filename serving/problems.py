"""Errors as the HTTP contract answers them: ``application/problem+json`` (RFC 9457)."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pydantic_core import to_json
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from starlette.responses import Response

from crewflow_assets.contract import Contract
from crewflow_assets.errors import (
    ConflictError,
    CrewflowError,
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    NotReadyError,
)

logger = logging.getLogger("crewflow.serving")

request_id: ContextVar[str | None] = ContextVar("crewflow_request_id", default=None)
"""The id of the current request, for its problems and for the log."""

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100
RETRY_SECONDS = 2

TITLES = {
    400: "Bad request",
    401: "Key missing or wrong",
    403: "Another company's data",
    404: "Not found",
    405: "Method not allowed",
    408: "Request too slow",
    409: "Decided already",
    413: "Request too large",
    415: "Unsupported encoding",
    429: "Too many requests",
    500: "Internal error",
    503: "Not ready",
}

REMEDIES = {
    "missing": "missing; this field is required",
    "extra_forbidden": "unknown field; remove it or check its spelling against /docs",
}


class FieldError(Contract):
    """One thing that is wrong with a request: where, and what to do about it."""

    loc: list[str | int]
    msg: str


class ProblemBody(Contract):
    """Every answer with a status of 400 or above."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: list[FieldError] | None = None


class Problem(Exception):  # noqa: N818  # named as in RFC 9457
    """A refusal with the status it is answered with."""

    def __init__(
        self,
        status: int,
        detail: str,
        problems: Sequence[FieldProblem] = (),
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = tuple(problems)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Render as JSON; of very many errors the first hundred."""
        detail = self.detail
        if len(self.problems) > MOST_ERRORS:
            detail += f" ({len(self.problems)} errors; the first {MOST_ERRORS} are listed)"
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": detail,
        }
        if (asked_as := request_id.get()) is not None:
            body["request_id"] = asked_as
        if self.problems:
            body["errors"] = [{"loc": list(p.loc), "msg": p.msg} for p in self.problems[:MOST_ERRORS]]
        return to_json(body)

    def response(self) -> Response:
        """Return the answer to send."""
        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Return what an exception means to the caller; one that nobody expected is logged and becomes a 500."""
    match error:
        case Problem():
            return error
        case InvalidInputError():
            return Problem(400, str(error), error.problems)
        case NotFoundError():
            return Problem(404, str(error))
        case ConflictError():
            return Problem(409, str(error))
        case NotReadyError() | CrewflowError():
            return Problem(503, str(error), headers={"Retry-After": str(RETRY_SECONDS)})
        case DataError() | StatementError() if isinstance(error, DataError) or not isinstance(error, DBAPIError):
            logger.warning("%s: the database refused a value", request_id.get(), exc_info=error)
            return Problem(400, "the database cannot store a value of this request; check numbers and dates")
        case IntegrityError():
            logger.warning("%s: two requests wrote the same record", request_id.get(), exc_info=error)
            return Problem(409, "another request changed the same record at the same moment; send this one again")
        case SQLAlchemyError():
            logger.error("%s: the operational database failed", request_id.get(), exc_info=error)
            return Problem(
                503,
                "the operational database cannot be reached, did not answer in time, or lacks its tables "
                "(`crewflow db upgrade`); the request may or may not have been carried out: send it again, "
                "a decision under the same Idempotency-Key",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        case _:
            logger.error("%s: unexpected %s", request_id.get(), type(error).__name__, exc_info=error)
            return Problem(500, "an unexpected error, logged with this request's id; please report it")


def field_problems(found: Iterable[Mapping[str, Any]], *, prefix: tuple[str | int, ...] = ()) -> list[FieldProblem]:
    """Turn pydantic's list of errors into ours."""
    problems = []
    for one in found:
        message = str(one.get("msg", "invalid")).removeprefix("Value error, ")
        problems.append(FieldProblem((*prefix, *one.get("loc", ())), REMEDIES.get(str(one.get("type")), message)))
    return problems


def invalid_fields(found: Iterable[Mapping[str, Any]]) -> Problem:
    """Return the 400 that names each bad field of a body or query."""
    problems = field_problems(found)
    named = ", ".join(dict.fromkeys(".".join(map(str, p.loc)) or "body" for p in problems[:5]))
    more = ", …" if len(problems) > 5 else ""
    return Problem(400, f"wrong fields: {named}{more}", problems)
