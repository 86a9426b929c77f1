"""The lake: what went into the inbox comes out by day, whole, late arrivals included."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, delete

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError
from crewflow_assets.ingest.event_kinds import PAYLOADS, EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.lake import events as lake
from crewflow_assets.lake.events import event_schema, folder_of, read_events, stale_days, write_day
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, Event
from tests.ingest.test_events import EXAMPLES

DAY = date(2026, 1, 5)
NOON = datetime(2026, 1, 5, 12, 0, 0, 123457, tzinfo=UTC)
FOREVER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        session.add(Company(id="c-1", name="Test", industry="electrical", created_at=NOON))
    return "c-1"


def record(*events: tuple[str, datetime], kind: str = "api_status", received: datetime | None = None) -> None:
    posted = [
        EventIn(event_id=name, kind=kind, company_id="c-1", occurred_at=at, payload=EXAMPLES[kind])
        for name, at in events
    ]
    with clock.fixed(received or NOON + timedelta(days=30)), transaction() as session:
        record_events(session, posted, handlers={})


def write(day: date = DAY, kind: str = "api_status") -> int:
    with reading() as session:
        return write_day(session, kind, day)


def stale(kind: str = "api_status", now: datetime | None = None) -> dict[date, int]:
    with clock.fixed(now or NOON + timedelta(days=31)), reading() as session:
        return stale_days(session, kind)


def rows(kind: str = "api_status", before: datetime = FOREVER) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_events(kind, before=before).order_by("occurred_at").to_pyarrow().to_pylist()
    return found


def ids() -> list[str]:
    return [row["event_id"] for row in rows()]


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
    real = lake._row
    calls: Iterator[int] = iter(range(10))

    def dies_at_the_second(event: Any) -> dict[str, Any]:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return real(event)

    monkeypatch.setattr(lake, "_row", dies_at_the_second)
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


def test_stale_days_are_exactly_those_the_lake_lacks_events_of(company: str) -> None:
    days = [DAY + timedelta(days=i) for i in range(4)]
    record(*((f"e-{i}", NOON + timedelta(days=i)) for i in range(4)))
    assert stale() == dict.fromkeys(days, 1)
    for day in days:
        write(day)
    assert stale() == {}
    record(("late", NOON + timedelta(days=1, hours=3)), received=NOON + timedelta(days=31))
    assert stale() == {days[1]: 2}
    write(days[1])
    assert stale() == {}


def record_days(count: int = 3, name: str = "e", received: datetime | None = None) -> list[date]:
    record(*((f"{name}-{i}", NOON + timedelta(days=i)) for i in range(count)), received=received)
    return [DAY + timedelta(days=i) for i in range(count)]


def empty_the_database() -> None:
    with transaction() as session:
        session.execute(delete(Event))


def write_stale() -> None:
    for day in stale():
        write(day)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def asides() -> list[Path]:
    return sorted(folder_of("api_status").parent.glob("api_status-of-*"))


@pytest.mark.parametrize("complete", [True, False])
def test_an_empty_database_leaves_the_lake_as_it_is(
    company: str, complete: bool, caplog: pytest.LogCaptureFixture
) -> None:
    days = record_days()
    for day in days:
        write(day)
    if complete:
        assert stale() == {}
    before = contents(folder_of("api_status"))
    empty_the_database()
    for _ in range(2):
        assert stale() == {}
        assert [write(day) for day in days] == [0, 0, 0]
    assert contents(folder_of("api_status")) == before
    assert asides() == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder_of('api_status')} is left as it is, since the database has no events: check CREWFLOW_DATABASE_URL"
    ]


def test_an_empty_database_without_a_lake_is_nothing_to_warn_of(
    company: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert stale() == {}
    assert write() == 0
    assert not folder_of("api_status").exists()
    assert not caplog.text


@pytest.mark.parametrize("mark", [None, "2026-02-05T12:00:00+00:00", "2026-02-05T12:00:00+00:00\n"])
def test_a_lake_of_before_there_were_names_is_adopted_as_it_is(
    company: str, mark: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    days = record_days()
    for day in days:  # as they were written then
        file = folder_of("api_status") / f"day={day}" / "events.parquet"
        write(day)
        pq.write_table(pq.read_table(file, partitioning=None).replace_schema_metadata(), file)
    (folder_of("api_status") / "complete_until.txt").unlink(missing_ok=True)
    if mark is not None:
        (folder_of("api_status") / "complete_until.txt").write_text(mark)
    before = contents(folder_of("api_status"))
    assert stale() == {}
    after = contents(folder_of("api_status"))
    assert {name: held for name, held in after.items() if "day=" in name} == {
        name: held for name, held in before.items() if "day=" in name
    }
    assert asides() == []
    assert not caplog.text
    empty_the_database()
    record(("other", NOON), received=NOON + timedelta(days=32))
    assert stale() == {DAY: 1}  # it has a name from now on
    assert len(asides()) == 1


def test_what_a_lake_without_a_name_says_of_its_completeness_is_not_believed(company: str) -> None:
    """It may have been looked at with another database, or an empty one."""
    for day in record_days()[:2]:
        write(day)
    (folder_of("api_status") / "complete_until.txt").write_text("2026-02-28T12:00:00+00:00")
    assert stale() == {DAY + timedelta(days=2): 1}


@pytest.mark.parametrize("complete", [True, False])
def test_the_lake_of_another_database_is_put_aside_whole(
    company: str, complete: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for day in record_days():
        write(day)
    if complete:
        assert stale() == {}
    before = contents(folder_of("api_status"))
    empty_the_database()
    record(("other", NOON), received=NOON + timedelta(days=32))
    assert stale() == {DAY: 1}
    assert stale() == {DAY: 1}
    [aside] = asides()
    assert contents(aside) == before
    assert [record.getMessage() for record in caplog.records] == [
        f"the lake's api_status events were of another database and are now in {aside}"
    ]
    write()
    assert ids() == ["other"]
    assert stale() == {}
    record(("late", NOON), received=NOON + timedelta(days=33))
    assert stale() == {DAY: 2}


def test_a_day_that_is_written_by_itself_puts_the_lake_of_another_database_aside(company: str) -> None:
    for day in record_days():
        write(day)
    before = contents(folder_of("api_status"))
    empty_the_database()
    record(("other", NOON), received=NOON + timedelta(days=32))
    assert write() == 1
    assert ids() == ["other"]
    [aside] = asides()
    assert contents(aside) == before


def test_once_the_right_database_is_back_its_lake_is_written_anew(company: str) -> None:
    days = record_days()
    write_stale()
    assert stale() == {}
    empty_the_database()
    record(("other", NOON), received=NOON + timedelta(days=32))
    write_stale()
    empty_the_database()
    assert record_days() == days
    assert stale() == dict.fromkeys(days, 1)
    write_stale()
    assert ids() == ["e-0", "e-1", "e-2"]
    assert stale() == {}
    assert len(asides()) == 2


def test_nothing_is_put_aside_over_what_is_there(company: str) -> None:
    for name in ("e", "other", "e"):
        record_days(name=name, received=NOON + timedelta(days=30 + (name == "other")))
        write_stale()
        empty_the_database()
    record_days(name="other", received=NOON + timedelta(days=31))
    before = contents(folder_of("api_status").parent)
    for refused in (stale, write):
        with pytest.raises(NotReadyError, match=r"put aside as .*api_status-of-.*check CREWFLOW_DATABASE_URL"):
            refused()
    assert contents(folder_of("api_status").parent) == before


@pytest.mark.parametrize("named", [True, False])
def test_two_processes_put_the_lake_of_another_database_aside_once(
    company: str, named: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second has read the former name, and renames when the first has renamed, and named and filled its own."""
    for day in record_days():
        write(day)
    before = contents(folder_of("api_status"))
    empty_the_database()
    record(("other", NOON), received=NOON + timedelta(days=32))
    rename = Path.rename

    def rename_as_second(folder: Path, aside: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        if named:
            assert stale() == {DAY: 1}
            assert write() == 1
        else:
            rename(folder, aside)
        return rename(folder, aside)

    monkeypatch.setattr(Path, "rename", rename_as_second)
    assert stale() == ({} if named else {DAY: 1})
    write()
    assert ids() == ["other"]
    assert stale() == {}
    [aside] = asides()
    assert contents(aside) == before
    assert len(caplog.records) == named


def test_a_folder_whose_name_is_no_day_is_ignored(company: str) -> None:
    record(("a", NOON))
    write()
    day = folder_of("api_status") / f"day={DAY}"
    shutil.copytree(day, day.with_name(f"{day.name}.bak"))
    assert stale() == {}
    assert ids() == ["a"]
    shutil.rmtree(day)
    with pytest.raises(NotReadyError, match="the lake holds no api_status events"):
        read_events("api_status", before=FOREVER)


def test_the_first_events_of_a_database_are_no_other_database_s(
    company: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert stale() == {}
    record(("first", NOON))
    assert stale() == {DAY: 1}
    write()
    assert stale() == {}
    assert not caplog.text


def test_other_kinds_are_not_stale_for_it(company: str) -> None:
    record(("a", NOON), kind="sync_attempt")
    assert stale("api_status") == {}
    assert stale("sync_attempt") == {DAY: 1}


def test_an_event_that_was_committed_after_the_last_look_is_found(company: str) -> None:
    """A transaction may commit some time after the moment that its events say to have been received."""
    look = NOON + timedelta(days=2)
    record(("first", NOON - timedelta(days=1)), received=NOON)
    write(DAY - timedelta(days=1))
    assert stale(now=look) == {}
    record(("slow", NOON), received=look - timedelta(minutes=5))
    assert stale(now=look + timedelta(minutes=1)) == {DAY: 1}


def test_a_process_that_is_killed_while_it_notes_a_look_spoils_nothing(
    company: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(("first", NOON - timedelta(days=1)), received=NOON - timedelta(hours=1))
    write(DAY - timedelta(days=1))
    assert stale(now=NOON) == {}

    def killed(file: Path, text: str) -> int:
        with file.open("w") as half:
            half.write(text[:5])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            stale(now=NOON + timedelta(days=1))
    record(("new", NOON), received=NOON + timedelta(days=1))
    assert stale(now=NOON + timedelta(days=2)) == {DAY: 1}


def test_after_a_look_at_a_complete_lake_old_days_are_not_counted_again(
    company: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(*((f"e-{i}", NOON + timedelta(days=i)) for i in range(3)), received=NOON + timedelta(days=4))
    for i in range(3):
        write(DAY + timedelta(days=i))
    assert stale(now=NOON + timedelta(days=5)) == {}
    counted: list[date] = []

    def nothing_written(_kind: str, day: date) -> int:
        counted.append(day)
        return 0

    monkeypatch.setattr(lake, "_rows_written", nothing_written)
    record(("new", NOON + timedelta(days=4)), received=NOON + timedelta(days=5, hours=1))
    assert list(stale(now=NOON + timedelta(days=6))) == [DAY + timedelta(days=4)]
    assert counted == [DAY + timedelta(days=4)]


def test_the_lake_lives_under_the_home_folder(home: Path) -> None:
    assert folder_of("api_status") == home.resolve() / "lake" / "api_status"
