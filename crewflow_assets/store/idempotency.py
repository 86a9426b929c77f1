"""Requests that carry an idempotency key act once, and are answered alike however often they come."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, FieldProblem, InvalidInputError
from crewflow_assets.store.database import insert_into
from crewflow_assets.store.tables import IdempotentAnswer

KEY_LENGTH = 200


def answer_once(
    session: Session,
    *,
    scope: str,
    key: str,
    request: Mapping[str, Any],
    act: Callable[[], dict[str, Any]],
) -> tuple[dict[str, Any], bool]:
    """Run ``act`` for the first request with this key, and give later ones the same answer.

    All of it belongs to the caller's transaction: the answer is kept if, and only if, what ``act`` wrote is.
    A second request that comes while the first is still acting waits for it.

    Args:
        scope: Within which a key is unique, such as the API key and the route.
        key: What the caller calls this request.
        request: The request's content as JSON values; a retry has the same.
        act: Does what is asked for, in the same session, and returns a JSON object.

    Returns:
        The answer, and whether it was given before.

    Raises:
        ConflictError: The key was used for a request with other content.
        InvalidInputError: The key is empty, longer than 200 characters or has control characters.
    """
    _check(key)
    content = _canonical_hash(request)
    with session.begin_nested():
        claimed = _claim(session, scope, key, content)
        if claimed is not None:
            answer: dict[str, Any] = json.loads(json.dumps(act(), allow_nan=False))
            session.execute(update(IdempotentAnswer).where(IdempotentAnswer.id == claimed).values(answer=answer))
            return answer, False
    return _answer(session.scalars(_row(scope, key)).one(), content), True


def stored_answer(session: Session, *, scope: str, key: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a request with this key was answered, or None where none was yet.

    For what is to be done before the transaction of ``answer_once``, and not at all for a repeated request.

    Raises:
        ConflictError, InvalidInputError: as ``answer_once``.
    """
    _check(key)
    stored = session.scalar(_row(scope, key))
    return None if stored is None else _answer(stored, _canonical_hash(request))


def _check(key: str) -> None:
    if not 0 < len(key) <= KEY_LENGTH or not key.isprintable():
        detail = f"the idempotency key {key[:40]!r} must have 1 to {KEY_LENGTH} printable characters"
        raise InvalidInputError(detail, (FieldProblem(("idempotency_key",), detail),))


def _row(scope: str, key: str) -> Select[IdempotentAnswer]:
    return select(IdempotentAnswer).where(IdempotentAnswer.scope == scope, IdempotentAnswer.key == key)


def _answer(stored: IdempotentAnswer, content: str) -> dict[str, Any]:
    if stored.request_hash != content:
        raise ConflictError(
            f"the idempotency key {stored.key!r} was used on {stored.created_at.isoformat(timespec='seconds')} "
            "for a request with other content; send a new request under a new key"
        )
    return dict(stored.answer)


def _canonical_hash(request: Mapping[str, Any]) -> str:
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _claim(session: Session, scope: str, key: str, content: str) -> int | None:
    """Insert the row whose unique key makes others wait, or return None where an answer is there already."""
    statement = (
        insert_into(session, IdempotentAnswer)
        .values(scope=scope, key=key, request_hash=content, answer={}, created_at=clock.now())
        .on_conflict_do_nothing(index_elements=["scope", "key"])
        .returning(IdempotentAnswer.id)
    )
    claimed: int | None = session.scalar(statement)
    return claimed
