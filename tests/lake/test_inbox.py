"""A reader's place in the inbox."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.lake import inbox
from crewflow_assets.lake.events import COMMIT_MARGIN
from crewflow_assets.lake.inbox import Inbox
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
    reader = Inbox()
    with clock.fixed(NOON):
        reader.begin()
    commit(5)
    assert look(reader) == [5]
    commit(3, 6)
    assert look(reader) == [3, 6]
    assert look(reader) == []


def test_what_is_settled_is_not_remembered(every_look_counts: None) -> None:
    reader, later = Inbox(), NOON + 2 * COMMIT_MARGIN
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
    reader = Inbox()
    commit(2)
    assert look(reader) == [2]
    commit(1)
    assert look(reader) == []
    monkeypatch.setattr(inbox, "monotonic", lambda: 101.5)
    assert look(reader) == [1]
