"""PostgreSQL that is silent, slow or wanted by many at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from benchmarks.postgres import PostgresServer
from crewflow_assets.settings import get_settings
from crewflow_assets.store import postgres
from crewflow_assets.store.database import MOST_CONNECTIONS, connected, transaction
from crewflow_assets.store.postgres import Door, NoAnswerError
from tests.conftest import use_database
from tests.serving.relay import Relay


@pytest.fixture
def limited(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a gateway's worker, with limits of tenths of a second."""
    monkeypatch.setenv("CREWFLOW_DATABASE_SECONDS", "0.5")
    get_settings.cache_clear()
    monkeypatch.setattr(postgres, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(postgres, "PING_SECONDS", 0.5)
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 2)  # psycopg takes no less


@pytest.fixture
def relay(postgres_url: str, postgres_server: PostgresServer) -> Iterator[Relay]:
    with Relay(postgres_server.port) as relay:
        yield relay


@pytest.fixture
def through(limited: None, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database that is reached through the relay."""
    yield from use_database(f"postgresql+psycopg://crewflow@127.0.0.1:{relay.port}/tests", monkeypatch)


def ask() -> Any:
    with connected() as connection:
        return connection.scalar(text("SELECT 1"))


def test_a_server_that_never_answers_is_given_up(limited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with Relay() as silent:
        url = f"postgresql+psycopg://crewflow@127.0.0.1:{silent.port}/none"
        for _ in use_database(url, monkeypatch):
            with pytest.raises(OperationalError, match="timeout"):
                ask()


def test_a_server_that_falls_silent_between_statements_is_given_up_and_taken_up_again(
    through: Engine, relay: Relay
) -> None:
    assert ask() == 1
    relay.silent.set()
    with pytest.raises(OperationalError, match="timeout"):
        ask()  # the connection that was kept is asked first
    relay.silent.clear()
    assert ask() == 1


def test_a_server_that_falls_silent_in_a_transaction_is_given_up(through: Engine, relay: Relay) -> None:
    def fall_silent() -> None:
        with transaction() as session:
            session.execute(text("SELECT 1"))
            relay.silent.set()
            session.execute(text("SELECT 2"))

    with pytest.raises(OperationalError, match=r"has not answered for 0\.7 seconds"):
        fall_silent()
    relay.silent.clear()
    assert ask() == 1


def test_a_long_statement_that_is_heard_of_is_not_given_up(through: Engine) -> None:
    with connected() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        rows = "SELECT pg_sleep(0.05), repeat('x', 20000) FROM generate_series(1, 20)"
        assert len(connection.execute(text(rows)).all()) == 20


def test_the_server_ends_what_waits_for_a_lock(limited: None, postgres_store: Engine) -> None:
    holding = "SELECT pg_advisory_xact_lock(7)"
    with connected() as other:
        other.execute(text(holding))
        with pytest.raises(OperationalError, match="statement timeout"), transaction() as session:
            session.execute(text(holding))
    with transaction() as session:
        session.execute(text(holding))


def test_other_processes_than_gateways_take_their_time(postgres_store: Engine) -> None:
    with connected() as connection:
        driver: Any = connection.connection.dbapi_connection
        assert (connection.scalar(text("SHOW statement_timeout")), driver.statement_seconds) == ("0", None)


def test_a_host_that_is_gone_is_noticed(postgres_store: Engine) -> None:
    with connected() as connection:
        driver: Any = connection.connection.dbapi_connection
        parameters = driver.info.get_parameters()
    assert {name: parameters[name] for name in postgres.TCP} == {
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "60000",
    }


def test_while_the_server_is_silent_one_thread_at_a_time_waits_for_it(
    limited: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Relay() as silent:
        door = Door(None)

        def knock() -> Any:
            return door.open(f"host=127.0.0.1 port={silent.port} dbname=none", connect_timeout=2)

        with pytest.raises(psycopg.errors.ConnectionTimeout):
            knock()
        begun = threading.Event()
        original = postgres.Listening.connect

        def connect(*args: Any, **named: Any) -> Any:
            begun.set()
            return original(*args, **named)

        monkeypatch.setattr(postgres.Listening, "connect", connect)
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(knock)
            assert begun.wait(60)
            for _ in range(100):
                with pytest.raises(NoAnswerError, match="is being asked again"):
                    knock()
            assert isinstance(asking.exception(), psycopg.errors.ConnectionTimeout)
        assert silent.accepted == 2


def test_as_many_connections_as_threads_may_need_are_open_at_once(postgres_store: Engine) -> None:
    together = threading.Barrier(MOST_CONNECTIONS)

    def hold(_: int) -> Any:
        with connected() as connection:
            answer = connection.scalar(text("SELECT pg_backend_pid()"))
            together.wait(60)
            return answer

    with ThreadPoolExecutor(MOST_CONNECTIONS) as pool:
        assert len(set(pool.map(hold, range(MOST_CONNECTIONS)))) == MOST_CONNECTIONS
