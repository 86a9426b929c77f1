"""The lake: what went into the inbox comes out by day, whole, late arrivals included."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sqlalchemy import delete, select

from crewflow_assets.errors import NotReadyError
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.lake import events as lake
from crewflow_assets.lake.columns import event_schema, row_of
from crewflow_assets.lake.events import folder_of, read_events, write_days
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Event
from tests.ingest.test_events import EXAMPLES
from tests.lake.days import DAY, FOREVER, NOON, ids, record, rows, stale, write, write_both


def test_every_kind_of_event_comes_out_as_it_went_in(company: str) -> None:
    for kind, payload in EXAMPLES.items():
        record((f"{kind}-1", NOON), kind=kind, received=NOON + timedelta(seconds=3, microseconds=7))
        assert write(kind=kind) == 1
        [row] = rows(kind)
        assert row["event_id"] == f"{kind}-1"
        assert row["company_id"] == "c-1"
        assert row["occurred_at"] == NOON  # to the microsecond
        assert row["received_at"] == NOON + timedelta(seconds=3, microseconds=7)
        for name, value in PAYLOADS[kind].model_validate(payload).model_dump(mode="json").items():
            found = row[name]
            assert found == value or (isinstance(value, dict) and json.loads(found) == value), name


@pytest.mark.parametrize("kind", sorted(PAYLOADS))
def test_moments_are_kept_in_microseconds_since_spark_refuses_nanoseconds(kind: str) -> None:
    schema = event_schema(kind)
    for name in ("occurred_at", "received_at"):
        assert schema.field(name).type == pa.timestamp("us", tz="UTC")
    assert set(schema.names) == {"event_id", "company_id", "occurred_at", "received_at", *PAYLOADS[kind].model_fields}


def test_numbers_stay_numbers_and_flags_stay_flags() -> None:
    schema = event_schema("sync_attempt")
    types = {name: str(schema.field(name).type) for name in ("ok", "latency_ms", "status_code", "calls", "system")}
    assert types == {
        "ok": "bool",
        "latency_ms": "double",
        "status_code": "int64",
        "calls": "int64",
        "system": "string",
    }
    assert str(event_schema("record_version").field("values").type) == "string"  # JSON
    assert str(event_schema("conflict_decision").field("resolution").type) == "string"


def test_a_day_is_a_utc_day_from_midnight_to_midnight(company: str) -> None:
    midnight = datetime(2026, 1, 5, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    record(
        ("before", midnight - tick),
        ("first", midnight),
        ("last", midnight + timedelta(days=1) - tick),
        ("after", midnight + timedelta(days=1)),
    )
    assert write() == 2
    assert ids() == ["first", "last"]


def test_writing_a_day_again_takes_up_what_came_late(company: str) -> None:
    record(("a", NOON))
    write()
    record(("late", NOON - timedelta(hours=1)))
    assert ids() == ["a"]
    assert write() == 2
    assert ids() == ["late", "a"]
    assert len(list(folder_of("api_status").glob("**/*.parquet"))) == 1


def test_reading_stops_before_the_moment_asked_for(company: str) -> None:
    record(("a", NOON), ("b", NOON + timedelta(microseconds=1)))
    write()
    assert rows(before=NOON) == []
    assert [row["event_id"] for row in rows(before=NOON + timedelta(microseconds=1))] == ["a"]


def test_a_day_without_events_has_no_file(company: str) -> None:
    assert write() == 0
    assert not list(folder_of("api_status").glob("day=*"))
    with pytest.raises(
        NotReadyError, match="the lake holds no api_status events; import data or run `crewflow demo`"
    ):
        read_events("api_status", before=FOREVER)


def test_a_writer_that_dies_half_way_leaves_the_day_as_it_was(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record(("a", NOON))
    write()
    record(("b", NOON), ("c", NOON))
    real = row_of
    calls: Iterator[int] = iter(range(10))

    def dies_at_the_second(event: Any) -> dict[str, Any]:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return real(event)

    monkeypatch.setattr(lake, "row_of", dies_at_the_second)
    monkeypatch.setattr(lake, "ROWS_PER_FETCH", 1)
    with pytest.raises(KeyboardInterrupt):
        write()
    assert ids() == ["a"]
    assert stale() == {DAY: 3}


def test_a_folder_that_a_killed_writer_left_behind_is_never_read(company: str) -> None:
    record(("a", NOON))
    write()
    left = folder_of("api_status") / ".unfinished-x"
    left.mkdir()
    pq.write_table(pa.table({"event_id": ["ghost"]}), left / "events.parquet")
    assert ids() == ["a"]
    assert write() == 1


def test_days_written_before_a_field_was_added_are_still_read(company: str) -> None:
    record(("old", NOON))
    write()
    file = folder_of("api_status") / f"day={DAY}" / "events.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).drop(["status"]), file)
    record(("new", NOON + timedelta(days=1)))
    write(DAY + timedelta(days=1))
    assert [(row["event_id"], row["status"]) for row in rows()] == [("old", None), ("new", "partial_outage")]


def test_the_lake_lives_under_the_home_folder(home: Path) -> None:
    assert folder_of("api_status") == home.resolve() / "lake" / "api_status"


def test_days_that_are_written_together_change_at_once(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a reader who adds what was received after the lake's newest event would miss one in between."""
    tomorrow = NOON + timedelta(days=1)
    record(("a", NOON), ("b", tomorrow))
    assert write_both() == 2
    record(("late", NOON), ("c", tomorrow))
    real = row_of

    def sees_the_old_days(event: Any) -> dict[str, Any]:
        assert ids() == ["a", "b"]
        return real(event)

    monkeypatch.setattr(lake, "row_of", sees_the_old_days)
    assert write_both() == 4
    assert sorted(ids()) == ["a", "b", "c", "late"]


def test_many_days_are_written_some_at_a_time(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies has not written for nothing."""
    record(("a", NOON), ("b", NOON + timedelta(days=1)))
    real = row_of

    def dies_at_the_second(event: Any) -> dict[str, Any]:
        if event.event_id == "b":
            raise KeyboardInterrupt
        return real(event)

    monkeypatch.setattr(lake, "DAYS_AT_ONCE", 1)
    monkeypatch.setattr(lake, "row_of", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        write_both()
    assert ids() == ["a"]


def test_a_slow_writer_puts_no_older_day_over_a_newer_one(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training completes the lake while a run of the lake works on the same days; nothing would notice after it."""
    record(("a", NOON))
    began = NOON + timedelta(days=31)
    rowed = row_of

    def is_overtaken(event: Any) -> dict[str, Any]:
        monkeypatch.setattr(lake, "row_of", rowed)
        record(("late", NOON - timedelta(hours=1)), received=began + timedelta(minutes=1))
        assert write(now=began + timedelta(minutes=2)) == 2
        assert stale(now=began + timedelta(minutes=20)) == {}
        return rowed(event)

    monkeypatch.setattr(lake, "row_of", is_overtaken)
    assert write(now=began) == 1
    assert ids() == ["late", "a"]


def test_an_inbox_that_was_restored_from_a_copy_with_fewer_events_is_written(company: str) -> None:
    record(("a", NOON), ("lost", NOON))
    write()
    with transaction() as session:
        session.execute(delete(Event).where(Event.event_id == "lost"))
    assert write(now=NOON + timedelta(days=32)) == 1
    assert ids() == ["a"]


def test_an_event_that_is_refused_today_keeps_no_day_from_the_lake(company: str) -> None:
    """What a kind allows may become less; what was recorded before stays an event."""
    record(("first", NOON), ("later", NOON + timedelta(days=1)), kind="conflict_decision")
    with transaction() as session:
        [first] = session.scalars(select(Event).where(Event.event_id == "first"))
        first.payload = {**first.payload, "value": 1e12, "text_value": None}
        del first.payload["blind"]  # a field that came later
    with pytest.raises(ValidationError):
        PAYLOADS["conflict_decision"].model_validate(first.payload)
    with reading() as session:
        assert write_days(session, "conflict_decision", [DAY, DAY + timedelta(days=1)]) == 2
    row = next(iter(rows("conflict_decision")))
    assert (row["value"], row["method"], row["blind"]) == (1e12, "person", False)
