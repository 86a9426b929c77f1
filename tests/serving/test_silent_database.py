"""The gateway beside a PostgreSQL that takes connections and statements, and answers nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from sqlalchemy import Engine
from starlette.testclient import TestClient

from benchmarks.postgres import PostgresServer
from crewflow_assets.store import postgres
from crewflow_assets.store.database import MOST_CONNECTIONS
from serving import keyring
from serving.problems import RETRY_SECONDS
from serving.runtime import PREDICTION_THREADS, Runtime
from serving.service import TIMEOUT_SECONDS, WORKER_ENVIRONMENT
from tests.conftest import use_database
from tests.serving.conftest import bearer, check_problem
from tests.serving.fakes import FakeSource
from tests.serving.relay import Relay

ECHO = "/v1/echo/predict"


@pytest.fixture
def relay(home: Path, postgres_url: str, postgres_server: PostgresServer) -> Iterator[Relay]:
    with Relay(postgres_server.port) as relay:
        yield relay


@pytest.fixture
def store(relay: Relay, postgres_store: Engine, setting: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty database behind the relay, with a worker's limits in tenths of a second."""
    setting("database_seconds", 0.5)
    monkeypatch.setattr(postgres, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(postgres, "PING_SECONDS", 0.5)
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 2)  # psycopg takes no less
    monkeypatch.setattr(keyring, "REMEMBERED_SECONDS", 0.0)  # the database is asked about the key each time
    yield from use_database(f"postgresql+psycopg://crewflow@127.0.0.1:{relay.port}/tests", monkeypatch)


@pytest.fixture
def client(
    running: TestClient, store: Engine, relay: Relay, source: FakeSource, runtime: Runtime
) -> Iterator[TestClient]:
    yield running
    relay.silent.clear()
    assert runtime.log.flush(within_seconds=30)


def test_what_needs_the_database_is_refused_and_the_rest_answered(
    client: TestClient, own: dict[str, str], relay: Relay
) -> None:
    assert client.get("/v1/mappings", headers=own).status_code == 200
    relay.silent.set()
    answer = client.get("/v1/mappings", headers=own)
    check_problem(answer, 503, "database")
    assert answer.headers["retry-after"] == str(RETRY_SECONDS)
    check_problem(client.get("/v1/mappings", headers=bearer("cfk_unknown")), 503, "database")
    assert client.post(ECHO, json={"text": "hi"}, headers=own).status_code == 200
    relay.silent.clear()
    assert client.get("/v1/mappings", headers=own).status_code == 200


def test_what_meets_the_silence_in_the_middle_of_a_decision_is_refused(
    client: TestClient, own: dict[str, str], relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crewflow_assets.cost_code_mapping import actions

    decide = actions.decide

    def fall_silent(*args: Any, **named: Any) -> Any:
        answer = decide(*args, **named)
        relay.silent.set()
        return answer

    body = {"system": "quickbooks", "source_code": "ELEC-105", "target_code": "50100", "decided_by": "u-1"}
    headers = {**own, "Idempotency-Key": "k-1"}
    with monkeypatch.context() as patched:
        patched.setattr(actions, "decide", fall_silent)
        refused = client.post("/v1/mappings/accept", json=body, headers=headers)
        check_problem(refused, 503, "database", "may or may not have been carried out", "Idempotency-Key")
    relay.silent.clear()
    answer = client.post("/v1/mappings/accept", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "mapped"


def test_more_requests_than_threads_end_beside_a_silent_database(
    client: TestClient, own: dict[str, str], relay: Relay
) -> None:
    relay.silent.set()
    with ThreadPoolExecutor(60) as senders:
        answers = list(senders.map(lambda _: client.get("/v1/mappings", headers=own), range(60)))
    for answer in answers:
        check_problem(answer, 503, "database")
    relay.silent.clear()
    assert client.get("/v1/mappings", headers=own).status_code == 200


def test_the_limits_of_a_worker_leave_time_to_answer() -> None:
    statement = float(WORKER_ENVIRONMENT["CREWFLOW_DATABASE_SECONDS"]) + postgres.GRACE_SECONDS
    before = postgres.PING_SECONDS + postgres.CONNECT_SECONDS
    assert statement + before < 0.75 * TIMEOUT_SECONDS


def test_there_are_connections_for_all_threads(running: TestClient) -> None:
    async def threads() -> float:
        return to_thread.current_default_thread_limiter().total_tokens

    assert running.portal is not None
    writer = 1
    assert running.portal.call(threads) + PREDICTION_THREADS + writer <= MOST_CONNECTIONS
