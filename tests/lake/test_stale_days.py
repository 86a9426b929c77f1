"""Stale days: those that the lake lacks events of, or wrote before they were over, and no others."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from crewflow_assets.lake import events as lake
from crewflow_assets.lake.events import Written, folder_of, written
from tests.lake.days import DAY, NOON, record, stale, write, write_both


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


def test_other_kinds_are_not_stale_for_it(company: str) -> None:
    record(("a", NOON), kind="sync_attempt")
    assert stale("api_status") == {}
    assert stale("sync_attempt") == {DAY: 1}


def test_an_event_that_was_committed_after_the_last_look_is_found(company: str) -> None:
    """A transaction may commit some time after the moment that its events say to have been received."""
    look = NOON + timedelta(days=2)
    record(("first", NOON - timedelta(days=1)), received=look)
    write(DAY - timedelta(days=1))
    assert stale(now=look) == {}
    record(("slow", NOON), received=look - timedelta(minutes=5))
    assert stale(now=look + timedelta(minutes=1)) == {DAY: 1}


def test_an_event_that_is_recorded_after_a_look_and_says_to_be_of_before_it_is_found(company: str) -> None:
    """So do the events of a simulated world, which may be filled in while the lake is looked at."""
    record(("first", NOON - timedelta(days=1)), received=NOON)
    assert stale(now=NOON + timedelta(days=60)) == {DAY - timedelta(days=1): 1}
    record(("next", NOON), received=NOON + timedelta(minutes=1))
    assert list(stale(now=NOON + timedelta(days=60))) == [DAY - timedelta(days=1), DAY]


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

    def nothing_written(_kind: str, day: date) -> Written:
        counted.append(day)
        return Written()

    monkeypatch.setattr(lake, "written", nothing_written)
    record(("new", NOON + timedelta(days=4)), received=NOON + timedelta(days=5, hours=1))
    assert list(stale(now=NOON + timedelta(days=6))) == [DAY + timedelta(days=4)]
    assert counted == [DAY + timedelta(days=4)]


def test_a_day_that_stays_stale_does_not_make_other_days_be_counted_again(
    company: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today's day is stale at nearly every look while events come in."""
    record(*((f"e-{i}", NOON + timedelta(days=i)) for i in range(3)), received=NOON + timedelta(days=2))
    write_both()
    today = DAY + timedelta(days=2)
    assert stale(now=NOON + timedelta(days=2, minutes=30)) == {today: 1}
    counted: list[date] = []

    def watched(kind: str, day: date) -> Written:
        counted.append(day)
        return written(kind, day)

    monkeypatch.setattr(lake, "written", watched)
    assert stale(now=NOON + timedelta(days=2, hours=1)) == {today: 1}
    assert counted == [today]
    counted.clear()
    assert stale(now=NOON + timedelta(days=2, hours=2)) == {today: 1}, "though nothing came since the last look"
    write(today)
    assert stale(now=NOON + timedelta(days=2, hours=3)) == {}
    assert stale(now=NOON + timedelta(days=2, hours=4)) == {}
    assert set(counted) == {today}


def test_a_day_that_was_written_before_it_was_over_is_written_once_more(company: str) -> None:
    """Nobody knows otherwise that nothing came after that; the day itself and later ones do not matter."""
    tomorrow = NOON + timedelta(days=1)
    record(("old", NOON - timedelta(days=1)), ("a", NOON), received=NOON)
    for day in (DAY - timedelta(days=1), DAY):
        write(day, now=NOON)
    assert stale(now=NOON) == {}
    assert not written("api_status", DAY).is_whole(DAY)
    assert stale(now=tomorrow) == {DAY: 1}
    assert stale(now=tomorrow) == {DAY: 1}
    write(now=tomorrow)
    assert written("api_status", DAY).is_whole(DAY)
    assert stale(now=tomorrow) == {}


def test_a_day_written_by_a_release_that_did_not_say_when_is_not_written_again(company: str) -> None:
    record(("a", NOON), received=NOON)
    write(now=NOON)
    file = folder_of("api_status") / f"day={DAY}" / "events.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).replace_schema_metadata(), file)
    assert stale() == {}
    assert written("api_status", DAY) == Written(1, None)
    record(("late", NOON))
    write(now=NOON)
    assert written("api_status", DAY) == Written(2, NOON)


@pytest.mark.parametrize("torn", ["", "abcd", "abcd\n2026-02-30T00:00:00+00:00", "abcd\n\nno day"])
def test_after_a_power_cut_tore_what_is_kept_of_the_last_look_all_is_counted_anew(company: str, torn: str) -> None:
    record(("first", NOON))
    write(DAY)
    assert stale(now=NOON + timedelta(days=9)) == {}
    (folder_of("api_status") / lake.LOOK).write_text(torn)
    assert stale(now=NOON + timedelta(days=9)) == {}
    record(("late", NOON))
    (folder_of("api_status") / lake.LOOK).write_text(torn)
    assert stale(now=NOON + timedelta(days=9)) == {DAY: 2}


def test_a_days_file_that_a_power_cut_tore_is_written_anew(company: str) -> None:
    record(("first", NOON))
    write(DAY)
    file = folder_of("api_status") / f"day={DAY}" / "events.parquet"
    file.write_bytes(b"")
    assert written("api_status", DAY).rows == 0
    assert not written("api_status", DAY).is_whole(DAY)
    (folder_of("api_status") / lake.LOOK).unlink(missing_ok=True)
    assert stale(now=NOON + timedelta(days=9)) == {DAY: 1}
    write(DAY)
    assert written("api_status", DAY).rows == 1
