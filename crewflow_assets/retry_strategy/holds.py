"""Calls that wait for a person, made once more when what refused them shows as mended.

Which calls: the classes of ``rules.RELEASED_ON``, where the caller named the call. What shows the mending: a sync of
the same integration that succeeds again, or a new version, on either side, of the record that the call carries,
unless a command of ours made it; without a named record a sync that says that none was refused. A sync releases a
call once, whether or not the call names a record, for it proves less than an edit of the record.

The receiver is told through the outbox (``retry.release``). Each release takes one from the retry budget; where that
is used up, the call goes on waiting for the next such event.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, collate, delete, false, select, tuple_
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.ingest.event_kinds import RecordVersion, SyncAttempt
from crewflow_assets.ingest.events import EventHandler, RecordedEvent
from crewflow_assets.outbox.queue import NewCommand, RefusalHandler, command_key, enqueue_many
from crewflow_assets.retry_strategy.contract import ErrorClass, ReleaseOn
from crewflow_assets.retry_strategy.delays import release_delay
from crewflow_assets.retry_strategy.ledger import Wanted, admit
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.database import VALUES_PER_QUERY, batched, insert_into
from crewflow_assets.store.retry_tables import RetryHold
from crewflow_assets.store.tables import Company, OutboxCommand

COMMAND = "retry.release"
ACTOR, OUTBOX = "model:retry_strategy", "outbox"
WAITING, RELEASED, REFUSED = "waiting", "released", "refused"
LONGEST = timedelta(days=14)
"""A call that nobody mended for so long is not made by itself any more: what it carries may be out of date."""

KEYS = (RetryHold.company_id, RetryHold.integration_id, RetryHold.call_id, RetryHold.release_on)
COLUMNS = len(RetryHold.__table__.columns)

Key = tuple[str, str]
"""Company and integration."""
Record = tuple[str, str, str]
"""Company, type and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call that failed for what a person has to mend; ``until`` when it is worth making once more."""

    company_id: str
    integration_id: str
    call_id: str
    release_on: ReleaseOn
    system: str
    error_class: ErrorClass
    record_type: str | None
    record_id: str | None
    until: datetime

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its place in the table."""
        return (self.company_id, self.integration_id, self.call_id, self.release_on)


def hold(session: Session, calls: Sequence[Refused], at: datetime) -> list[bool]:
    """Let calls wait for their mending from now on, and say of each whether it does.

    Now is taken for the moment of the failure, as nobody tells that: what shows the mending has to happen later. For
    a call that waits already the moment stays, as its mending may have happened since, and its event may come late.

    A call of an unknown company does not: no event can come in for it. Nor does one that a sync released before, and
    that was refused all the same.
    """
    companies = sorted({call.company_id for call in calls})
    known = {
        company
        for part in batched(companies)
        for company in session.scalars(select(Company.id).where(Company.id.in_(part)))
    }
    lasting = {call.key: call for call in calls if call.company_id in known and call.until > at}
    rows = _rows(session, [lasting[key] for key in sorted(lasting)], at)
    found = []
    for call in calls:
        row = rows.get(call.key)
        waits = row is not None and call.until > at and _may_wait(row, call, at)
        if row is not None and waits:
            if row.state != WAITING or row.until <= at:
                row.failed_at = at
            row.system, row.error_class, row.state = call.system, call.error_class, WAITING
            row.record_type, row.record_id, row.until = call.record_type, call.record_id, call.until
        found.append(waits)
    _forget_expired(session, known, at)
    return found


def _may_wait(row: RetryHold, call: Refused, at: datetime) -> bool:
    """Say whether a call waits from now on, by its row: a new one, or what became of the call before."""
    edits = call.release_on == "record_edited" and call.record_id is not None
    return row.until <= at or row.state == WAITING or (row.state == RELEASED and edits)


def see_attempts(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Release the calls whose mending shows in good ``sync_attempt`` events.

    That no record was refused the event has to say itself: 0 is also what is assumed where it does not tell.
    """
    good: dict[Key, datetime] = {}
    clean: dict[Key, datetime] = {}
    for recorded in events:
        attempt = recorded.payload
        assert isinstance(attempt, SyncAttempt)
        if attempt.ok:
            key = (recorded.event.company_id, attempt.integration_id)
            _later(good, key, recorded.event.occurred_at)
            if "records_failed" in attempt.model_fields_set and attempt.records_failed == 0:
                _later(clean, key, recorded.event.occurred_at)
    if not good:
        return
    columns = tuple_(RetryHold.company_id, RetryHold.integration_id)
    rows = [
        row
        for part in batched(sorted(good), VALUES_PER_QUERY // 2)
        for row in session.scalars(_waiting(session).where(columns.in_(part)))
    ]

    def shown(row: RetryHold) -> datetime | None:
        if row.release_on == "record_edited":
            return None if row.record_id is not None else clean.get((row.company_id, row.integration_id))
        return good.get((row.company_id, row.integration_id))

    _release(session, rows, shown, "a sync of the integration succeeded")


def see_versions(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Release the calls whose records changed by ``record_version`` events of either side.

    A version that a command of ours made (``command_id``) is nobody's mending.
    """
    changed: dict[Record, datetime] = {}
    for recorded in events:
        version = recorded.payload
        assert isinstance(version, RecordVersion)
        if version.command_id is not None:  # our own write, as for conflicts: nobody mended anything
            continue
        key = (recorded.event.company_id, version.record_type, version.record_id)
        _later(changed, key, recorded.event.occurred_at)
    columns = tuple_(RetryHold.company_id, RetryHold.record_type, RetryHold.record_id)
    rows = [
        row
        for part in batched(sorted(changed), VALUES_PER_QUERY // 3)
        for row in session.scalars(
            _waiting(session).where(columns.in_(part), RetryHold.release_on == "record_edited")
        )
    ]

    def shown(row: RetryHold) -> datetime | None:
        return changed.get((row.company_id, row.record_type or "", row.record_id or ""))

    _release(session, rows, shown, "the record was changed")


def note_refused(session: Session, command: OutboxCommand, reason: str) -> None:
    """Note that the receiver would not make a call again; it is not released any more.

    Where the call was made again and failed once more meanwhile, it waits for another mending: that goes on.
    """
    told = command.payload
    key = (command.company, told["integration_id"], told["call_id"], told["release_on"])
    row = session.get(RetryHold, key, with_for_update=True)
    before = None if row is None else row.state
    if row is not None and row.failed_at == datetime.fromisoformat(told["failed_at"]):
        row.state = REFUSED
    after = {"state": None if row is None else row.state, "reason": reason}
    _audit(session, command.company, told["call_id"], "retry.refused", before, after, actor=OUTBOX)


EVENT_HANDLERS: dict[str, EventHandler] = {"sync_attempt": see_attempts, "record_version": see_versions}
REFUSAL_HANDLERS: dict[str, RefusalHandler] = {COMMAND: note_refused}


def _rows(session: Session, calls: Sequence[Refused], at: datetime) -> dict[tuple[str, str, str, str], RetryHold]:
    """Return the rows of calls, locked in the order of their keys, in which the calls come; new ones wait.

    They are inserted first: a lock on a row that is not there yet would keep nobody else from inserting it. What is
    there already the insertion locks and leaves alone, so that nobody forgets it before it is read; ON CONFLICT DO
    NOTHING locks nothing (https://www.postgresql.org/docs/current/sql-insert.html).
    """
    wanted = insert_into(session, RetryHold)
    kept = wanted.on_conflict_do_update(index_elements=KEYS, set_={"state": wanted.excluded.state}, where=false())
    found: dict[tuple[str, str, str, str], RetryHold] = {}
    for some in batched(calls, VALUES_PER_QUERY // COLUMNS):
        values = [asdict(call) | {"state": WAITING, "failed_at": at} for call in some]
        session.execute(kept, values)
        locked = session.scalars(_locked(session).where(tuple_(*KEYS).in_([call.key for call in some])))
        found |= {(row.company_id, row.integration_id, row.call_id, row.release_on): row for row in locked}
    return found


def _forget_expired(session: Session, companies: Collection[str], at: datetime) -> None:
    """Delete what waits no more, but for what others hold just now; last, so that nobody waits for us meanwhile."""
    over = select(*KEYS).where(RetryHold.company_id.in_(companies), RetryHold.until <= at).order_by(*KEYS)
    keys = session.execute(over.limit(VALUES_PER_QUERY // len(KEYS)).with_for_update(skip_locked=True)).all()
    gone = delete(RetryHold).where(tuple_(*KEYS).in_([tuple(key) for key in keys]))
    session.execute(gone, execution_options={"synchronize_session": False})


def _waiting(session: Session) -> Select[RetryHold]:
    return _locked(session).where(RetryHold.state == WAITING, RetryHold.until > clock.now())


def _locked(session: Session) -> Select[RetryHold]:
    """Return what locks rows in the order in which everybody locks them: Python's, as ``_rows`` inserts them."""
    postgres = session.get_bind().dialect.name == "postgresql"  # elsewhere texts are in that order anyway
    return select(RetryHold).order_by(*(collate(key, "C") if postgres else key for key in KEYS)).with_for_update()


def _later(moments: dict[Any, datetime], key: Any, moment: datetime) -> None:
    moments[key] = max(moment, moments.get(key, moment))


def _release(
    session: Session, rows: Iterable[RetryHold], shown: Callable[[RetryHold], datetime | None], why: str
) -> None:
    """Tell the receiver to make calls again that failed before their mending showed, as far as budgets go."""
    at = clock.now()
    due = [row for row in rows if (moment := shown(row)) is not None and moment > row.failed_at]
    if not due:
        return
    due.sort(key=lambda row: (row.company_id, row.failed_at, row.integration_id, row.call_id))
    # the API has just answered a sync, or its breaker judges the failure that follows
    wanted = [Wanted(row.system, row.company_id, 0.0, breaker_open=False) for row in due]
    admitted = [row for row, one in zip(due, admit(session, wanted, at), strict=True) if one.seconds is not None]
    commands = []
    for row in admitted:
        row.state, row.released_at = RELEASED, at
        payload = {
            "integration_id": row.integration_id,
            "system": row.system,
            "call_id": row.call_id,
            "release_on": row.release_on,
            "error_class": row.error_class,
            "record_type": row.record_type,
            "record_id": row.record_id,
            "reason": why,
            "failed_at": row.failed_at.isoformat(),
            "delay_seconds": _delay(row),
            "until": row.until.isoformat(),
        }
        key = command_key(row.company_id, row.integration_id, row.call_id, row.release_on, row.failed_at.isoformat())
        commands.append(
            NewCommand(
                company_id=row.company_id,
                record_key=f"call/{row.integration_id}/{row.call_id}",
                command=COMMAND,
                payload=payload,
                idempotency_key=key,
            )
        )
        _audit(session, row.company_id, row.call_id, COMMAND, WAITING, payload, actor=ACTOR)
    enqueue_many(session, commands)


def _delay(row: RetryHold) -> float:
    return round(float(release_delay(uniform("release", row.company_id, row.integration_id, row.call_id))), 1)


def _audit(
    session: Session,
    company_id: str,
    call_id: str,
    action: str,
    before: str | None,
    after: Mapping[str, object],
    *,
    actor: str,
) -> None:
    """Write what became of a call; ``before`` is its state until then, None where it was forgotten."""
    write_audit(
        session,
        company_id=company_id,
        actor=actor,
        action=action,
        subject_type="call",
        subject_id=call_id,
        before=None if before is None else {"state": before},
        after=dict(after),
    )
