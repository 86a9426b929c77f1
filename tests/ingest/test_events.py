"""Events that come in: refused whole or recorded once, on both databases."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, func, select, update

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, InvalidInputError
from crewflow_assets.ingest.event_kinds import PAYLOADS, EventIn
from crewflow_assets.ingest.events import EventCounts, RecordedEvent, record_events
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, Event

START = datetime(2026, 1, 5, 9, 0, 0, 123456, tzinfo=UTC)

EXAMPLES: dict[str, dict[str, Any]] = {
    "mapping_decision": {
        "system": "quickbooks",
        "source_code": "E-1",
        "action": "accept",
        "target_code": "50100",
        "decided_by": "dana",
    },
    "sync_attempt": {
        "integration_id": "i-3",
        "system": "quickbooks",
        "ok": False,
        "status_code": 429,
        "calls_left": 0,
    },
    "api_status": {"system": "xero", "status": "partial_outage"},
    "record_version": {
        "record_type": "timecard",
        "record_id": "t-1",
        "side": "external",
        "version": "7",
        "values": {"hours": 7.5, "note": "früh", "lines": [1, None]},
    },
    "retry_outcome": {
        "integration_id": "i-3",
        "system": "sage",
        "error_class": "timeout",
        "attempt": 2,
        "delay_seconds": 30.5,
        "ok": True,
    },
    "conflict": {
        "conflict_id": "x-1",
        "conflict_type": "hours_mismatch",
        "values": {"crewflow": 8.0, "external": 7.5},
        "worker_id": "w-9",
        "project_id": "p-4",
        "timecard_date": "2025-10-15",
        "last_sync_timestamp": "2025-10-16T06:00:00Z",
    },
    "conflict_decision": {
        "conflict_id": "x-1",
        "conflict_type": "hours_mismatch",
        "resolution": "use_external",
        "decided_by": "dana",
    },
    "prediction_outcome": {"prediction_id": "p-1", "outcome": "accepted", "value": 1.0},
}


@pytest.fixture
def companies(store: Engine) -> list[str]:
    names = ["c-1", "c-2"]
    with transaction() as session:
        session.add_all(Company(id=name, name=name, industry="electrical", created_at=START) for name in names)
    return names


def event(event_id: str = "e-1", kind: str = "api_status", **changes: Any) -> EventIn:
    known = {
        "event_id": event_id,
        "kind": kind,
        "company_id": "c-1",
        "occurred_at": START,
        "payload": EXAMPLES.get(kind, {}),
    }
    return EventIn.model_validate(known | changes)


def record(*events: EventIn, **handlers: Any) -> EventCounts:
    with transaction() as session:
        return record_events(session, events, handlers=handlers)


def stored() -> list[Event]:
    with reading() as session:
        return list(session.scalars(select(Event).order_by(Event.id)))


def test_there_is_an_example_of_every_kind() -> None:
    assert EXAMPLES.keys() == PAYLOADS.keys()


def test_events_of_every_kind_are_kept_as_they_came(companies: list[str]) -> None:
    received = START + timedelta(days=1)
    with clock.fixed(received):
        counts = record(*(event(kind, kind) for kind in EXAMPLES))
    assert (counts.recorded, counts.repeated) == (len(EXAMPLES), 0)
    for found in stored():
        assert found.event_id == found.kind
        assert found.occurred_at == START
        assert found.received_at == received
        assert EXAMPLES[found.kind].items() <= found.payload.items()


def test_moments_of_other_zones_are_the_same_moments(companies: list[str]) -> None:
    record(event(occurred_at=START.astimezone(timezone(timedelta(hours=-8)))))
    assert stored()[0].occurred_at == START


def test_every_bad_event_of_a_batch_is_named_and_nothing_is_recorded(companies: list[str]) -> None:
    bad = [
        event("fine"),
        event("b", payload={"system": "xero", "status": "asleep"}),
        event("c", payload={"system": "xero"}),
        event("d", "sync_attempt", payload=EXAMPLES["sync_attempt"] | {"latency_ms": -1, "colour": "red"}),
        event("e", occurred_at=clock.now() + timedelta(minutes=5)),
        event("f", occurred_at=datetime(2002, 6, 1, tzinfo=UTC)),
        event("g", "mapping_decision", payload=EXAMPLES["mapping_decision"] | {"target_code": None}),
    ]
    with pytest.raises(InvalidInputError, match="6 of 7 events are wrong; nothing was recorded") as error:
        record(*bad)
    assert {problem.loc for problem in error.value.problems} == {
        ("events", 1, "payload", "status"),
        ("events", 2, "payload", "status"),
        ("events", 3, "payload", "latency_ms"),
        ("events", 3, "payload", "colour"),
        ("events", 4, "occurred_at"),
        ("events", 5, "occurred_at"),
        ("events", 6, "payload"),
    }
    said = {problem.loc[1]: problem.msg for problem in error.value.problems}
    assert "lies in the future; send the moment at which it happened" in said[4]
    assert "2002-06-01T00:00:00+00:00 lies before 2020-01-01" in said[5]
    assert said[6] == "target_code is null, but 'accept' maps to an account; name it, or send 'undo'"
    assert stored() == []


@pytest.mark.parametrize("year", [1, 9999])
def test_moments_at_the_ends_of_the_calendar_are_refused_rather_than_breaking(
    companies: list[str], year: int
) -> None:
    zone = timezone(timedelta(hours=14 if year == 1 else -12))
    with pytest.raises(InvalidInputError, match="1 of 1 events are wrong"):
        record(event(occurred_at=datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, 23, tzinfo=zone)))


def test_unknown_companies_are_named_at_each_event(companies: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="unknown companies; nothing was recorded") as error:
        record(event("a"), event("b", company_id="c-9"), event("c", company_id="c-8"))
    assert [(p.loc, p.msg) for p in error.value.problems] == [
        (("events", 1, "company_id"), "company 'c-9' is unknown; import its chart or cost codes first"),
        (("events", 2, "company_id"), "company 'c-8' is unknown; import its chart or cost codes first"),
    ]
    assert stored() == []


def test_a_repeated_batch_is_harmless_and_acts_only_once(companies: list[str]) -> None:
    acted: list[str] = []

    def act(_session: object, events: list[RecordedEvent]) -> None:
        acted.extend(one.event.event_id for one in events)

    batch = [event("a"), event("b"), event("a")]
    assert record(*batch, api_status=act) == EventCounts(recorded=2, repeated=1)
    assert record(*batch, event("c"), api_status=act) == EventCounts(recorded=1, repeated=3)
    assert acted == ["a", "b", "c"]
    assert len(stored()) == 3


def test_an_id_belongs_to_its_company(companies: list[str]) -> None:
    assert record(event("a"), event("a", company_id="c-2")).recorded == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"occurred_at": START + timedelta(microseconds=1)},
        {"payload": {"system": "xero", "status": "operational"}},
        {"kind": "sync_attempt", "payload": EXAMPLES["sync_attempt"]},
    ],
    ids=["moment", "payload", "kind"],
)
@pytest.mark.parametrize("stored_before", [True, False])
def test_an_id_that_was_used_for_another_event_is_refused(
    companies: list[str], changes: dict[str, Any], stored_before: bool
) -> None:
    first, other = event("a"), EventIn.model_validate(event("a").model_dump() | changes)
    if stored_before:
        record(first)
    with pytest.raises(ConflictError, match="event_id 'a' was used for another event of company 'c-1'"):
        record(*([] if stored_before else [first]), other)
    assert len(stored()) == stored_before


def test_a_default_that_is_left_out_and_one_that_is_sent_are_the_same_event(companies: list[str]) -> None:
    record(event("a", "sync_attempt"))
    spelt_out = EXAMPLES["sync_attempt"] | {"calls": 1, "records_failed": 0, "latency_ms": None}
    assert record(event("a", "sync_attempt", payload=spelt_out)).repeated == 1


def test_an_event_stored_before_its_kind_had_a_field_is_the_same_event(companies: list[str]) -> None:
    record(event("a", "sync_attempt"))
    with transaction() as session:
        session.execute(update(Event).values(payload=EXAMPLES["sync_attempt"]))
    assert record(event("a", "sync_attempt")) == EventCounts(recorded=0, repeated=1)


@pytest.mark.parametrize(("kind", "payload"), [("sync_attempt", {"colour": "red"}), ("weather", {})])
def test_a_stored_event_that_would_be_refused_today_is_another_one(
    companies: list[str], kind: str, payload: dict[str, Any]
) -> None:
    record(event("a", "sync_attempt"))
    with transaction() as session:
        session.execute(update(Event).values(kind=kind, payload=payload))
    with pytest.raises(ConflictError, match="event_id 'a' was used for another event"):
        record(event("a", "sync_attempt"))


def test_a_handler_that_refuses_takes_the_whole_batch_with_it(companies: list[str]) -> None:
    def refuse(_session: object, _events: object) -> None:
        raise InvalidInputError("no such record")

    with pytest.raises(InvalidInputError):
        record(event("a", "sync_attempt"), event("b"), api_status=refuse)
    assert stored() == []


def test_handlers_get_their_kind_alone_with_places_in_the_batch(companies: list[str]) -> None:
    given: dict[str, list[tuple[int, str]]] = {}

    def keep(_session: object, events: list[RecordedEvent]) -> None:
        given[events[0].event.kind] = [(one.index, type(one.payload).__name__) for one in events]

    record(event("a"), event("b", "sync_attempt"), event("c"), api_status=keep, retry_outcome=keep)
    assert given == {"api_status": [(0, "ApiStatus"), (2, "ApiStatus")]}


def test_an_empty_batch_records_nothing(companies: list[str]) -> None:
    assert record() == EventCounts(0, 0)


def test_a_batch_larger_than_the_databases_parameter_limits_is_recorded(companies: list[str]) -> None:
    batch = [event(f"e-{i}") for i in range(12_000)]
    assert record(*batch).recorded == 12_000
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 12_000


def test_the_same_batch_sent_twice_at_once_is_recorded_once(companies: list[str]) -> None:
    """Retries overlap with what they retry; companies in another order must not deadlock either."""
    batch = [event(f"e-{i}", company_id=f"c-{1 + i % 2}") for i in range(50)]
    barrier = threading.Barrier(4)
    outcomes: list[Any] = []

    def send(events: list[EventIn]) -> None:
        barrier.wait()
        try:
            outcomes.append(record(*events))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcomes.append(error)

    threads = [threading.Thread(target=send, args=(batch[:: 1 if i % 2 else -1],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcome.recorded for outcome in outcomes) == [0, 0, 0, 50], outcomes


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": ""},
        {"event_id": "x" * 201},
        {"kind": "weather"},
        {"occurred_at": "2026-01-05T09:00:00"},
        {"company_id": ""},
        {"extra": 1},
    ],
)
def test_a_malformed_envelope_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        event(**changes)
