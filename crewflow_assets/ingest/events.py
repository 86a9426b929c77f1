"""Events that come in: validated whole, recorded once, handed to the models they concern, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.contract import Contract
from crewflow_assets.errors import ConflictError, FieldProblem, InvalidInputError
from crewflow_assets.ingest.event_kinds import EARLIEST, PAYLOADS, EventIn
from crewflow_assets.store.tables import Company, Event

IDS_PER_QUERY = 10_000


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event that was new, with its typed payload and its place in the batch."""

    index: int
    event: EventIn
    payload: Contract


EventHandler = Callable[[Session, Sequence[RecordedEvent]], None]


@dataclass(frozen=True, slots=True)
class EventCounts:
    """How many events of a batch were new, and how many had been recorded before."""

    recorded: int
    repeated: int


def record_events(
    session: Session, events: Sequence[EventIn], *, handlers: Mapping[str, EventHandler]
) -> EventCounts:
    """Record a batch of events and let the handlers of their kinds act on the new ones.

    Raises:
        InvalidInputError: a payload is wrong, or a company or record is unknown; every bad event is named.
        ConflictError: an event id was used before for another event.
    """
    typed = _typed(events)
    _known_companies(session, events)
    stored = _stored(session, events)
    seen: dict[tuple[str, str], EventIn] = {}
    fresh: list[RecordedEvent] = []
    for index, (event, payload) in enumerate(zip(events, typed, strict=True)):
        key = (event.company_id, event.event_id)
        if key in stored or key in seen:
            same = _content_of(event) == (stored[key] if key in stored else _content_of(seen[key]))
            if not same:
                raise ConflictError(
                    f"events[{index}]: event_id {event.event_id!r} was used for another event of company "
                    f"{event.company_id!r}; give each event an id of its own"
                )
            continue
        seen[key] = event
        fresh.append(RecordedEvent(index, event, payload))
    if fresh:
        received_at = clock.now()
        session.execute(
            insert(Event),
            [
                {
                    "event_id": e.event.event_id,
                    "kind": e.event.kind,
                    "company_id": e.event.company_id,
                    "occurred_at": e.event.occurred_at,
                    "received_at": received_at,
                    "payload": e.payload.model_dump(mode="json"),
                }
                for e in fresh
            ],
        )
    by_kind: dict[str, list[RecordedEvent]] = defaultdict(list)
    for recorded in fresh:
        by_kind[recorded.event.kind].append(recorded)
    for kind, handler in handlers.items():  # in their order: a conflict before the decision on it
        if kind in by_kind:
            handler(session, by_kind[kind])
    return EventCounts(recorded=len(fresh), repeated=len(events) - len(fresh))


def _typed(events: Sequence[EventIn]) -> list[Contract]:
    payloads: list[Contract] = []
    problems: list[FieldProblem] = []
    now = clock.now()
    for index, event in enumerate(events):
        if not EARLIEST <= event.occurred_at <= now:
            where = "in the future" if event.occurred_at > now else f"before {EARLIEST:%Y-%m-%d}"
            problems.append(
                FieldProblem(
                    ("events", index, "occurred_at"),
                    f"{event.occurred_at.isoformat()} lies {where}; send the moment at which it happened, with its "
                    "UTC offset",
                )
            )
        try:
            payloads.append(PAYLOADS[event.kind].model_validate(event.payload))
        except ValidationError as error:
            problems += [
                FieldProblem(("events", index, "payload", *found["loc"]), found["msg"].removeprefix("Value error, "))
                for found in error.errors()
            ]
    if problems:
        bad = len({problem.loc[1] for problem in problems})
        raise InvalidInputError(f"{bad} of {len(events)} events are wrong; nothing was recorded", tuple(problems))
    return payloads


def _known_companies(session: Session, events: Sequence[EventIn]) -> None:
    """Lock the companies, in one order, so that the same batch sent twice at once is recorded once."""
    named = {event.company_id for event in events}
    known = set(
        session.scalars(select(Company.id).where(Company.id.in_(named)).order_by(Company.id).with_for_update())
    )
    problems = tuple(
        FieldProblem(
            ("events", index, "company_id"),
            f"company {event.company_id!r} is unknown; import its chart or cost codes first",
        )
        for index, event in enumerate(events)
        if event.company_id not in known
    )
    if problems:
        raise InvalidInputError("events name unknown companies; nothing was recorded", problems)


def _content_of(event: EventIn) -> tuple[object, ...]:
    return _content(event.kind, event.occurred_at, event.payload)


def _content(kind: str, occurred_at: datetime, payload: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what makes two events the same, with today's defaults; a payload that is refused today, as it stands."""
    try:
        return (kind, occurred_at, PAYLOADS[kind].model_validate(payload).model_dump(mode="json"))
    except (KeyError, ValidationError):  # recorded when kinds or fields were others: it equals nothing sent today
        return (kind, occurred_at, payload)


def _stored(session: Session, events: Sequence[EventIn]) -> dict[tuple[str, str], tuple[object, ...]]:
    ids = sorted({event.event_id for event in events})
    named = {event.company_id for event in events}  # the index begins with the company
    found: dict[tuple[str, str], tuple[object, ...]] = {}
    for start in range(0, len(ids), IDS_PER_QUERY):
        rows = session.execute(
            select(Event.company_id, Event.event_id, Event.kind, Event.occurred_at, Event.payload).where(
                Event.company_id.in_(named), Event.event_id.in_(ids[start : start + IDS_PER_QUERY])
            )
        )
        found |= {(company, event_id): _content(kind, at, payload) for company, event_id, kind, at, payload in rows}
    return found
