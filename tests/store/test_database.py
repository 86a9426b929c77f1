"""Transactions, moments, and writers beside writers and readers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, literal, select, text
from sqlalchemy.exc import StatementError

from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, Json

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


def through_json(store: Engine, value: Any) -> Any:
    with store.connect() as connection:
        found: Any = connection.scalar(select(literal({"v": value}, Json)))
    return found["v"]


@pytest.mark.parametrize("value", [None, True, 3, 10**17, 1.5, "é 材", [1, ["a"]], {"a": {"b": []}}, {}, []])
def test_json_keeps_plain_values(store: Engine, value: Any) -> None:
    assert through_json(store, value) == value


@pytest.mark.parametrize(
    "value",
    [MOMENT, MOMENT.date(), timedelta(hours=1), Decimal("1.1"), {1, 2}, b"a", UUID(int=1), Path("a"), {(1, 2): 3}],
    ids=lambda value: type(value).__name__,
)
def test_json_refuses_what_would_come_back_as_something_else(store: Engine, value: Any) -> None:
    with pytest.raises((StatementError, TypeError), match=r"not JSON serializable|keys must be"):
        through_json(store, value)


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
