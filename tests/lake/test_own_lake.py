"""Whose the lake is: an empty database leaves it alone, another's is put aside whole, and nothing is removed."""

import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete

from crewflow_assets.errors import NotReadyError
from crewflow_assets.lake.events import folder_of, read_events
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Event
from tests.lake.days import DAY, FOREVER, NOON, ids, record, stale, write


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


def test_earlier_releases_can_read_whose_the_lake_is(company: str) -> None:
    """They take all after the first line for its name, and believe the first line: it must say nothing then."""
    record_days()
    assert len(stale()) == 3
    mark = folder_of("api_status") / "complete_until.txt"
    until, _, name = mark.read_text().partition("\n")
    assert (until, name.isalnum()) == ("", True)
    write_stale()
    assert stale() == {}
    assert mark.read_text() == f"\n{name}"


@pytest.mark.parametrize("named", ["", "\n2026-01-06"])
def test_after_an_earlier_release_every_day_is_counted_once(company: str, named: str) -> None:
    """Some kept stale days below the name."""
    days = record_days()
    write()
    folder = folder_of("api_status")
    mark = folder / "complete_until.txt"
    mark.write_text(f"2026-02-28T12:00:00+00:00{mark.read_text()}{named}")
    assert stale() == dict.fromkeys(days[1:], 1)
    assert asides() == []
    write_stale()
    assert stale() == {}


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
