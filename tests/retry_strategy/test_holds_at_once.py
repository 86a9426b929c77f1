"""Held calls where several ask about them, release them and forget them at once."""

import threading
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, Select, func, select, text
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.events import record_events
from crewflow_assets.retry_strategy import holds
from crewflow_assets.retry_strategy.holds import Refused, _locked, hold
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.retry_tables import RetryHold
from tests.retry_strategy.asking import MINUTE, NOON, add_companies, attempt


def refused(call_id: str, until: datetime = NOON + timedelta(days=1)) -> Refused:
    return Refused(
        company_id="c-1",
        integration_id="i-3",
        call_id=call_id,
        release_on="reauthorised",
        system="quickbooks",
        error_class="auth",
        record_type=None,
        record_id=None,
        until=until,
    )


def test_two_first_requests_about_a_call_at_once_both_wait(postgres_store: Engine) -> None:
    add_companies()
    found: list[list[bool]] = []

    def second() -> None:
        with transaction() as session:
            found.append(hold(session, [refused("call-0"), refused("call-1")], NOON))

    thread = threading.Thread(target=second)
    with transaction() as session:
        assert hold(session, [refused("call-1")], NOON) == [True]
        session.flush()
        thread.start()
        while thread.is_alive() and not _someone_waits(postgres_store):
            thread.join(0.01)
    thread.join()
    assert found == [[True, True]]
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(RetryHold)) == 2


def _someone_waits(store: Engine) -> bool:
    with store.connect() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def test_nobody_waits_for_the_lock_of_a_call_that_waits_no_more(postgres_store: Engine) -> None:
    add_companies()
    with transaction() as session:
        hold(session, [refused(f"old-{number}") for number in (2, 1)], NOON)
    later = NOON + timedelta(days=2)
    with transaction() as other:
        other.scalars(select(RetryHold).where(RetryHold.call_id == "old-2").with_for_update()).one()
        with transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert hold(session, [refused("call-1", until=later + MINUTE)], later) == [True]
        with clock.fixed(later), transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            record_events(session, [attempt(1, "c-1", later - MINUTE)], handlers=EVENT_HANDLERS)
    assert _held() == ["call-1", "old-2"]


def test_a_call_that_is_asked_about_anew_while_it_is_forgotten_waits(store: Engine) -> None:
    add_companies()
    with transaction() as session:
        hold(session, [refused("call-1")], NOON)
    later, found = NOON + timedelta(days=2), []

    def asked_anew() -> None:
        with transaction() as session:
            found.extend(hold(session, [refused("call-1", until=later + MINUTE)], later))

    thread = threading.Thread(target=asked_anew)
    with transaction() as session:
        hold(session, [refused("call-2", until=later + MINUTE)], later)
        assert session.scalars(select(RetryHold.call_id)).all() == ["call-2"]
        thread.start()  # SQLite has one writer at a time; on PostgreSQL it comes as far as the row that goes
        while store.dialect.name == "postgresql" and thread.is_alive() and not _someone_waits(store):
            thread.join(0.01)
    thread.join()
    assert found == [True]
    assert _held() == ["call-1", "call-2"]


def test_nobody_forgets_a_call_between_its_insertion_and_its_lock(
    postgres_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite nobody else writes meanwhile."""
    add_companies()
    with transaction() as session:
        hold(session, [refused("call-1")], NOON)
    later = NOON + timedelta(days=2)

    def forgotten_first(session: Session) -> Select[RetryHold]:
        monkeypatch.setattr(holds, "_locked", _locked)
        with transaction() as other:
            hold(other, [refused("call-2", until=later + MINUTE)], later)
        return _locked(session)

    monkeypatch.setattr(holds, "_locked", forgotten_first)
    with transaction() as session:
        assert hold(session, [refused("call-1", until=later + MINUTE)], later) == [True]
    assert _held() == ["call-1", "call-2"]


def _held() -> list[str]:
    with reading() as session:
        return list(session.scalars(select(RetryHold.call_id).order_by(RetryHold.call_id)))


def test_calls_are_locked_in_the_order_in_which_they_are_inserted(store: Engine) -> None:
    names = ["a", "B", "a-1", "a_1", "A", "é", "z", "Z1", "\U0001f477", "\uffee", "10", "9"]
    add_companies()
    with transaction() as session:
        hold(session, [refused(name) for name in names], NOON)
        assert [row.call_id for row in session.scalars(_locked(session))] == sorted(names)
