"""The simulated backend carries the platform's commands out, each once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crewflow_assets.twin.receiver import CommandInbox
from crewflow_assets.twin.sync.world import SyncWorld, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> SyncWorld:
    return SyncWorld([standard_draw(7, 4)], start=START, days=1)


def command(name: str, id_: str = "cmd_1", *, place: int = 1, **payload: Any) -> dict[str, Any]:
    return {"id": id_, "command": name, "payload": {"integration_id": f"i-{place + 1}", **payload}}


def until(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def test_nothing_came(world: SyncWorld) -> None:
    assert CommandInbox(world).commands() is None


def test_commands_reach_their_integration_once(world: SyncWorld) -> None:
    inbox = CommandInbox(world)
    pause = command("sync.pause", until=until(61), interval_minutes=None)
    assert inbox.take(pause)
    assert not inbox.take(pause)
    inbox.take(command("sync.slow_down", "cmd_2", place=2, until=until(120), interval_minutes=30))
    inbox.take(command("sync.reauthorise", "cmd_3", place=0))
    inbox.take(command("sync.review_records", "cmd_4", place=0))
    found = inbox.commands()
    assert found is not None
    assert list(found.pause_until) == [0, 5, 0, 0], "the first tick that begins after the hour and a minute"
    assert (list(found.slow_minutes), list(found.slow_until)) == ([0, 0, 30, 0], [0, 0, 8, 0])
    assert list(found.reauthorise) == list(found.review_records) == [True, False, False, False]
    assert inbox.commands() is None
    assert not inbox.take(pause), "also after it was carried out"


def test_of_two_commands_for_a_schedule_the_later_counts(world: SyncWorld) -> None:
    inbox = CommandInbox(world)
    inbox.take(command("sync.slow_down", until=until(120), interval_minutes=30))
    inbox.take(command("sync.pause", "cmd_2", until=until(60)))
    found = inbox.commands()
    assert found is not None
    assert (found.slow_minutes[1], found.pause_until[1]) == (0, 4)
    inbox.take(command("sync.pause", "cmd_3", until=until(60)))
    inbox.take(command("sync.resume", "cmd_4"))
    found = inbox.commands()
    assert found is not None
    assert (found.pause_until[1], found.resume[1]) == (0, True)


def test_what_people_are_told_changes_no_sync(world: SyncWorld) -> None:
    inbox = CommandInbox(world)
    inbox.take(command("alert.opened"))
    found = inbox.commands()
    assert found is not None
    assert not any(values.any() for values in (found.pause_until, found.slow_until, found.resume, found.reauthorise))


def test_an_unknown_integration_is_an_error(world: SyncWorld) -> None:
    with pytest.raises(KeyError, match="no integration 'i-10'"):
        CommandInbox(world).take(command("sync.pause", place=9, until=until(60)))
