"""The outbox: effects on other systems, written with the decision that wants them, sent afterwards.

A command is claimed by moving its next attempt behind a lease, in a transaction of its own; it is sent outside
of any transaction, and its result is written in another one. A worker that dies in between leaves a command
that is sent again after the lease, under the same idempotency key.

Nothing gives up by itself: a command that cannot be delivered stays pending and is tried at least every hour,
because a dropped command is a decision that one side never hears of, and those behind it would take effect
without it. Only a receiver's refusal or an operator (``give_up``) ends it, and both re-open what it decided.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import exists, func, insert, select
from sqlalchemy.orm import Session, aliased

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, NotFoundError, NotReadyError
from crewflow_assets.store.database import batched, reading, transaction
from crewflow_assets.store.tables import Company, OutboxCommand

LEASE = timedelta(minutes=2)
FIRST_BACKOFF = timedelta(seconds=5)
LONGEST_BACKOFF = timedelta(hours=1)
SHORTEST_BACKOFF = timedelta(seconds=1)

RefusalHandler = Callable[[Session, OutboxCommand, str], None]

# A full stop would be ambiguous in what Standard Webhooks signs: id.timestamp.body
_KEY = re.compile(r"[A-Za-z0-9_:-]{1,200}")


class CommandState(StrEnum):
    """Where a command stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    REFUSED = "refused"


def command_key(*parts: str) -> str:
    """Return an idempotency key made from anything, such as the decision's id and the command's name."""
    return "cmd_" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def enqueue(
    session: Session,
    *,
    company_id: str | None,
    record_key: str,
    command: str,
    payload: Mapping[str, Any],
    idempotency_key: str,
) -> OutboxCommand:
    """Put a command into the outbox, in the caller's transaction; one that is there already is returned.

    Commands of one record are sent in the order in which their transactions commit: the company's row is
    locked until then, as every decision about the company locks it to raise its revision. What is sent about the
    platform has no such row: its caller locks the record.

    Args:
        session: The transaction that decides what the command carries out.
        company_id: Whose record it is; None: the platform's.
        record_key: The record within the company; its commands are sent in order.
        command: What the receiver should do, such as "mapping.set".
        payload: The command's content as JSON values.
        idempotency_key: Names this effect once and for all; ``command_key`` makes one.

    Raises:
        ConflictError: The key belongs to another command.
        NotFoundError: There is no such company.
        ValueError: The key has characters other than letters, digits, "_", ":" and "-", or over 200 of them.
    """
    new = NewCommand(
        company_id=company_id,
        record_key=record_key,
        command=command,
        payload=payload,
        idempotency_key=idempotency_key,
    )
    enqueue_many(session, [new])
    return session.scalars(select(OutboxCommand).where(OutboxCommand.idempotency_key == idempotency_key)).one()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommand:
    """A command to put into the outbox; the fields are the arguments of ``enqueue``."""

    company_id: str | None
    record_key: str
    command: str
    payload: Mapping[str, Any]
    idempotency_key: str


def enqueue_many(session: Session, commands: Sequence[NewCommand]) -> None:
    """Put many commands into the outbox at once, in their order; raises what ``enqueue`` does."""
    for new in commands:
        if _KEY.fullmatch(new.idempotency_key) is None:
            raise ValueError(
                f"the idempotency key {new.idempotency_key!r} must match {_KEY.pattern}; use command_key()"
            )
    _lock_companies(session, {new.company_id for new in commands if new.company_id is not None})
    known = _present(session, {new.idempotency_key for new in commands})
    moment = clock.now()
    rows: list[dict[str, Any]] = []
    for new in commands:
        content = json.loads(json.dumps(new.payload, allow_nan=False))
        effect = (new.company_id, new.record_key, new.command, content)
        if new.idempotency_key not in known:
            known[new.idempotency_key] = effect
            rows.append(
                {
                    "idempotency_key": new.idempotency_key,
                    "company_id": new.company_id,
                    "record_key": new.record_key,
                    "command": new.command,
                    "payload": content,
                    "state": CommandState.PENDING.value,
                    "attempts": 0,
                    "next_attempt_at": moment,
                    "created_at": moment,
                }
            )
        elif known[new.idempotency_key] != effect:
            company_id, record_key, command, _ = known[new.idempotency_key]
            raise ConflictError(
                f"the idempotency key {new.idempotency_key!r} belongs to the command {command!r} for {record_key!r} "
                f"of {company_id or 'the platform'!r}; another effect needs another key"
            )
    if rows:
        session.execute(insert(OutboxCommand), rows)


def _lock_companies(session: Session, named: set[str]) -> None:
    for part in batched(sorted(named)):
        locked = select(Company.id).where(Company.id.in_(part)).order_by(Company.id).with_for_update(key_share=True)
        known = set(session.scalars(locked))
        for company_id in part:
            if company_id not in known:
                raise NotFoundError(f"there is no company {company_id!r}; import it first, or check its id")


Effect = tuple[str | None, str, str, dict[str, Any]]
"""Company, record, command and content: what an idempotency key names."""


def _present(session: Session, keys: set[str]) -> dict[str, Effect]:
    columns = (OutboxCommand.company_id, OutboxCommand.record_key, OutboxCommand.command, OutboxCommand.payload)
    return {
        key: (company_id, record_key, command, content)
        for part in batched(sorted(keys))
        for key, company_id, record_key, command, content in session.execute(
            select(OutboxCommand.idempotency_key, *columns).where(OutboxCommand.idempotency_key.in_(part))
        )
    }


def claim(due_by: datetime) -> OutboxCommand | None:
    """Take the longest due command for this worker until ``LEASE`` is over; None when nothing is due.

    A command is not due while an earlier one of the same record is unfinished.
    """
    earlier = aliased(OutboxCommand)
    of_one_record = (
        earlier.record_key == OutboxCommand.record_key,
        earlier.state == CommandState.PENDING.value,
        earlier.id < OutboxCommand.id,
    )
    blocked = exists().where(earlier.company_id == OutboxCommand.company_id, *of_one_record)
    of_platform = (earlier.company_id.is_(None), OutboxCommand.company_id.is_(None))
    blocked_of_platform = exists().where(*of_platform, *of_one_record)
    due = (
        select(OutboxCommand)
        .where(
            OutboxCommand.state == CommandState.PENDING.value,
            OutboxCommand.next_attempt_at <= due_by,
            ~blocked,
            ~blocked_of_platform,
        )
        .order_by(OutboxCommand.next_attempt_at, OutboxCommand.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    with transaction() as session:
        row = session.scalar(due)
        if row is not None:
            row.attempts += 1
            row.next_attempt_at = clock.now() + LEASE
        return row


def mark_delivered(claimed: OutboxCommand) -> bool:
    """Finish a claimed command; False where the claim was lost, and nothing is written."""
    with transaction() as session:
        row = _still_claimed(session, claimed)
        if row is None:
            return False
        _finish(row, CommandState.DELIVERED, None)
        return True


def mark_refused(claimed: OutboxCommand, reason: str, handler: RefusalHandler) -> bool:
    """Finish a claimed command and re-open what it decided, both or neither; False where the claim was lost."""
    with transaction() as session:
        row = _still_claimed(session, claimed)
        if row is None:
            return False
        _finish(row, CommandState.REFUSED, reason)
        handler(session, row, reason)
        return True


def postpone(claimed: OutboxCommand, error: str, delay: timedelta) -> bool:
    """Let a claimed command be tried again after ``delay``; False where the claim was lost."""
    with transaction() as session:
        row = _still_claimed(session, claimed)
        if row is None:
            return False
        row.last_error = error
        row.next_attempt_at = clock.now() + delay
        return True


def give_up(
    session: Session, idempotency_key: str, reason: str, on_refused: Mapping[str, RefusalHandler]
) -> OutboxCommand:
    """End a pending command by an operator's hand: it counts as refused, and what it decided is re-opened.

    Whether the receiver saw an earlier attempt is for the operator to know.

    Raises:
        ConflictError: The command is delivered or refused already.
        NotFoundError: No command has this key.
        NotReadyError: Nothing knows how to re-open what such a command decided.
    """
    row = session.scalar(
        select(OutboxCommand).where(OutboxCommand.idempotency_key == idempotency_key).with_for_update()
    )
    if row is None:
        raise NotFoundError(f"the outbox has no command {idempotency_key!r}")
    if row.state != CommandState.PENDING:
        raise ConflictError(f"the command {idempotency_key!r} is {row.state} already; only pending ones can end")
    handler = on_refused.get(row.command)
    if handler is None:
        raise NotReadyError(f"no refusal handler is registered for commands {row.command!r}")
    _finish(row, CommandState.REFUSED, reason)
    handler(session, row, reason)
    return row


def waiting() -> int:
    """Return how many commands are neither delivered nor refused."""
    with reading() as session:
        pending = select(func.count()).where(OutboxCommand.state == CommandState.PENDING.value)
        return session.scalar(pending) or 0


def backoff(attempts: int, draw: Callable[[], float] = random.random) -> timedelta:
    """Return the pause after the given number of attempts: exponential with full jitter, one hour at most."""
    ceiling = min(LONGEST_BACKOFF, FIRST_BACKOFF * (1 << min(max(attempts - 1, 0), 20)))
    return max(SHORTEST_BACKOFF, ceiling * draw())


def _still_claimed(session: Session, claimed: OutboxCommand) -> OutboxCommand | None:
    """Lock the command if no other worker took it over since: the number of attempts tells claims apart."""
    return session.scalar(
        select(OutboxCommand)
        .where(
            OutboxCommand.id == claimed.id,
            OutboxCommand.state == CommandState.PENDING.value,
            OutboxCommand.attempts == claimed.attempts,
        )
        .with_for_update()
    )


def _finish(row: OutboxCommand, state: CommandState, error: str | None) -> None:
    row.state = state.value
    row.last_error = error
    row.finished_at = clock.now()
