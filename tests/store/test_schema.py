"""The migrations build exactly the tables that the code declares, and can be undone."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from benchmarks.postgres import PostgresServer
from crewflow_assets.store import schema
from crewflow_assets.store.tables import Base
from tests.conftest import use_database

FIRST_CONFLICT = """
    INSERT INTO conflicts (id, company_id, conflict_id, conflict_type, state, record_type, worker_id, project_id,
        timecard_date, last_sync_timestamp, opened_at, opened_on, size, blind)
    VALUES (1, 'c-1', 'x-1', 'duplicate', 'resolved', 'timecard', 'w-1', 'p-1', '2026-03-01',
        '2026-03-01 06:00:00', '2026-03-01 12:00:00', '2026-03-01', 1.0, false)
"""
ITS_DECISION = """
    INSERT INTO conflict_resolutions (id, company_id, conflict, conflict_type, action, method, state, decided_by,
        decided_at, propensity)
    VALUES ('d-1', 'c-1', 1, 'duplicate', 'use_crewflow', 'person', 'in_force', 'dana', '2026-03-01 12:00:00', 0.0)
"""


@pytest.fixture
def postgres_store(home: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database of the test's own, since its tables are dropped and made again."""
    name = f"test_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_server.template}")
    yield from use_database(postgres_server.url(name), monkeypatch)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def differences(target: Engine) -> list[object]:
    with target.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))


def test_the_migrations_equal_the_metadata(store: Engine) -> None:
    assert schema.current() == schema.head()
    assert differences(store) == []


def test_an_up_to_date_database_is_left_alone(store: Engine) -> None:
    assert schema.upgrade() == (schema.head(), schema.head())


def test_the_migrations_can_be_undone_and_redone(store: Engine) -> None:
    config = schema.alembic_config()
    with store.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(store).get_table_names() == ["alembic_version"]
    assert schema.current() is None
    assert schema.upgrade() == (None, schema.head())
    assert differences(store) == []


def test_a_filled_database_is_migrated(store: Engine) -> None:
    """SQLite cannot rebuild a table that others refer to, as a change of a column would."""
    config = schema.alembic_config()
    with store.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        connection.execute(
            text(
                "INSERT INTO companies (id, name, industry, created_at) VALUES ('c-1', '', '', '2026-03-01 12:00:00')"
            )
        )
        connection.execute(text(FIRST_CONFLICT))
        connection.execute(text(ITS_DECISION))
    assert schema.upgrade() == ("0003", schema.head())
    with store.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM conflict_resolutions JOIN conflicts ON true")) == 1
