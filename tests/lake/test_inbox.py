"""A reader's place in the inbox."""

import threading
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import pytest
from psycopg.errors import QueryCanceled
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from crewflow_assets import clock
from crewflow_assets.lake import inbox
from crewflow_assets.lake.events import COMMIT_MARGIN
from crewflow_assets.lake.inbox import Inbox, Turn
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Company, Event

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def every_look_counts(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "COUNT_EVERY_SECONDS", 0)
    with transaction() as session:
        session.add(Company(id="c-1", name="c-1", industry="roofing", created_at=NOON))


def commit(*ids: int, received_at: datetime = NOON) -> None:
    with transaction() as session:
        session.add_all(
            Event(
                id=id_,
                event_id=f"e-{id_}",
                kind="sync_attempt",
                company_id="c-1",
                occurred_at=NOON,
                received_at=received_at,
                payload={},
            )
            for id_ in ids
        )


def look(reader: Inbox, at: datetime = NOON) -> list[int]:
    found: list[int] = []

    def take(rows: Any) -> None:
        found.extend(row.id for row in rows)

    with clock.fixed(at):
        reader.look(take)
    return found


def test_what_is_committed_after_a_later_one_is_found(every_look_counts: None) -> None:
    commit(1, 2)
    reader = Inbox(["sync_attempt"])
    with clock.fixed(NOON):
        reader.begin()
    commit(5)
    assert look(reader) == [5]
    commit(3, 6)
    assert look(reader) == [3, 6]
    assert look(reader) == []


def test_what_is_settled_is_not_remembered(every_look_counts: None) -> None:
    reader, later = Inbox(["sync_attempt"]), NOON + 2 * COMMIT_MARGIN
    commit(*range(1, 50))
    assert len(look(reader)) == 49
    commit(50, received_at=later)
    assert look(reader, later + timedelta(minutes=1)) == [50]
    assert reader._taken == {50}
    commit(51, received_at=later)
    assert look(reader, later + timedelta(minutes=1)) == [51]


def test_within_a_second_only_a_newer_id_is_looked_for(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction() as session:
        session.add(Company(id="c-1", name="c-1", industry="roofing", created_at=NOON))
    monkeypatch.setattr(inbox, "monotonic", lambda: 100.0)
    reader = Inbox(["sync_attempt"])
    commit(2)
    assert look(reader) == [2]
    commit(1)
    assert look(reader) == []
    monkeypatch.setattr(inbox, "monotonic", lambda: 101.5)
    assert look(reader) == [1]


def test_other_kinds_are_not_handed_over_and_are_no_longer_new(every_look_counts: None) -> None:
    reader = Inbox(["api_status"])
    commit(1, 2)
    assert look(reader) == []
    assert reader._taken == {1, 2}


@pytest.fixture
def came(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return when each came who wants the turn."""
    moments: list[float] = []

    def told() -> float:
        moments.append(monotonic())
        return moments[-1]

    monkeypatch.setattr(inbox, "monotonic", told)
    return moments


def wait_for(came: list[float], count: int) -> None:
    for _ in range(2000):
        if len(came) >= count:
            return
        sleep(0.01)
    raise AssertionError(f"{len(came)} came, not {count}")


def test_those_who_waited_share_a_failure_and_who_comes_later_asks_anew(came: list[float]) -> None:
    turn, asked, failures = Turn(), list[int](), list[OperationalError]()

    holding, go_on = threading.Event(), threading.Event()

    def ask(number: int) -> None:
        try:
            with turn.taken():
                asked.append(number)
                holding.set()
                assert go_on.wait(20)
                raise OperationalError("select", {}, OSError("silent"))
        except OperationalError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    threads[0].start()
    assert holding.wait(20)
    for thread in threads[1:]:
        thread.start()
    wait_for(came, 4)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert asked == [0]
    assert len(failures) == 4
    with turn.taken():
        asked.append(4)
    assert asked == [0, 4]


def test_what_the_database_refuses_one_is_not_refused_to_those_who_wait(came: list[float]) -> None:
    turn, holding, go_on, done = Turn(), threading.Event(), threading.Event(), list[int]()

    def too_slow() -> None:
        with turn.taken():
            holding.set()
            assert go_on.wait(20)
            raise OperationalError("select", {}, QueryCanceled("statement timeout"))

    def quick() -> None:
        with turn.taken():
            done.append(1)

    def refused() -> None:
        with pytest.raises(OperationalError):
            too_slow()

    threads = [threading.Thread(target=refused), threading.Thread(target=quick)]
    threads[0].start()
    assert holding.wait(20)
    threads[1].start()
    wait_for(came, 2)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert done == [1]
