"""Transactions, moments, and writers beside writers and readers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import StatementError

from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def company(company_id: str, created_at: datetime = MOMENT) -> Company:
    return Company(id=company_id, name=company_id, industry="roofing", created_at=created_at, revision=0)


def test_moments_round_trip_as_utc_with_microseconds(store: Engine) -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=-7)))
    with transaction() as session:
        session.add(company("c-1", elsewhere))
    with reading() as session:
        read = session.scalars(select(Company.created_at)).one()
        assert session.scalars(select(Company.id).where(Company.created_at == MOMENT)).all() == ["c-1"]
    assert read == MOMENT
    assert read.tzinfo is UTC


def test_naive_moments_are_refused(store: Engine) -> None:
    with pytest.raises(StatementError, match="has no timezone"), transaction() as session:
        session.add(company("c-1", MOMENT.replace(tzinfo=None)))


def test_a_transaction_that_raises_writes_nothing(store: Engine) -> None:
    def write_two_and_fail() -> None:
        with transaction() as session:
            session.add(company("c-1"))
            session.flush()
            session.add(company("c-2"))
            session.flush()
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_two_and_fail()
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Company)) == 0


def test_writers_at_once_all_succeed(store: Engine) -> None:
    with transaction() as session:
        session.add(company("c-1"))

    def increment(_: int) -> None:
        with transaction() as session:
            row = session.scalars(select(Company).where(Company.id == "c-1").with_for_update()).one()
            row.revision += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(40)))
    with reading() as session:
        assert session.scalars(select(Company.revision)).one() == 40


def test_a_reader_does_not_wait_for_a_writer(store: Engine) -> None:
    with transaction() as session:
        session.add(company("c-1"))
    seen: list[str] = []

    def read() -> None:
        with reading() as session:
            seen.extend(session.scalars(select(Company.id)))

    with transaction() as session:
        session.add(company("c-2"))
        session.flush()
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(timeout=10)
        assert not reader.is_alive()
        assert seen == ["c-1"]


def test_sqlite_keeps_its_promises(sqlite_store: Engine) -> None:
    with sqlite_store.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
