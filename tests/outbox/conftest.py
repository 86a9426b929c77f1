"""What the outbox's tests share: a receiver, and commands of one company."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

import pytest
from sqlalchemy import select

from crewflow_assets.outbox import queue
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, OutboxCommand
from tests.outbox import receiver as receivers


class Put(Protocol):
    def __call__(self, key: str, record: str = "r-1", command: str = "mapping.set") -> OutboxCommand: ...


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[receivers.Receiver]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with receivers.running() as running:
        yield running


@pytest.fixture
def put() -> Put:
    """Puts a command of company c-1 into the outbox; ask for it after a store."""

    def put_one(key: str, record: str = "r-1", command: str = "mapping.set") -> OutboxCommand:
        with transaction() as session:
            if session.get(Company, "c-1") is None:
                created = datetime(2026, 1, 1, tzinfo=UTC)
                session.add(Company(id="c-1", name="Acme", industry="roofing", created_at=created, revision=0))
                session.flush()
            return queue.enqueue(
                session,
                company_id="c-1",
                record_key=record,
                command=command,
                payload={"target_code": "50100", "note": "Müller – ½"},
                idempotency_key=key,
            )

    return put_one


def stored(key: str) -> OutboxCommand:
    """Return a command as the database has it."""
    with reading() as session:
        return session.scalars(select(OutboxCommand).where(OutboxCommand.idempotency_key == key)).one()
