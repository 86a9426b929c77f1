"""A gateway with two workers behaves as one: keys, promotions and decisions hold in both."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine, func, select

from crewflow_assets.store import keys
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Mapping, OutboxCommand
from tests.serving.conftest import add_company, bearer, new_key
from tests.serving.filed_registry import promote
from tests.serving.test_serve import environment_of, running

ECHO = "/v1/echo/predict"
SERVICE = "tests.serving.small_gateway:service"
SECONDS = 40.0


@pytest.fixture
def workers(sqlite_store: Engine, home: Path) -> Iterator[list[httpx.Client]]:
    """A client of each of two workers, over a connection that is kept; there is a champion."""
    promote(1)
    environment = environment_of(home) | {
        "CREWFLOW_GATEWAY_WORKERS": "2",
        "CREWFLOW_GATEWAY_REQUESTS_PER_CONNECTION": "1000000",
    }
    with running(environment, home, SERVICE) as (url, process), ExitStack() as opened:
        clients: dict[int, httpx.Client] = {}
        deadline = time.perf_counter() + SECONDS
        while len(clients) < 2:
            assert time.perf_counter() < deadline, "one worker takes all connections"
            client = opened.enter_context(httpx.Client(base_url=url, timeout=30))
            assert client.get("/livez").status_code == 200
            clients.setdefault(worker_of(client, process.pid), client)
        yield list(clients.values())


def worker_of(client: httpx.Client, gateway: int) -> int:
    """Return the process at the other end of a client's connection."""
    [connection] = client._transport._pool.connections  # type: ignore[attr-defined]
    local = connection._connection._network_stream.get_extra_info("client_addr")
    for worker in psutil.Process(gateway).children(recursive=True):
        if any(one.raddr == tuple(local) and one.status == "ESTABLISHED" for one in worker.net_connections("tcp")):
            return worker.pid
    raise AssertionError(f"no worker of {gateway} holds the connection from {local}")


def until(found: Callable[[], bool], told: str) -> None:
    deadline = time.perf_counter() + SECONDS
    while not found():
        assert time.perf_counter() < deadline, told
        time.sleep(0.1)


def test_two_workers_are_one_gateway(workers: list[httpx.Client]) -> None:
    add_company("c-17")
    token, key_id = new_key("c-17")
    own = bearer(token)

    def asked(client: httpx.Client) -> httpx.Response:
        return client.post(ECHO, json={"text": "hi"}, headers=own)

    assert [asked(client).json()["model_version"] for client in workers] == ["1.0", "1.0"]

    body = {"system": "quickbooks", "source_code": "ELEC-105", "target_code": "61000", "decided_by": "u-1"}

    def decide(client: httpx.Client) -> httpx.Response:
        return client.post("/v1/mappings/correct", json=body, headers={**own, "Idempotency-Key": "k-1"})

    with ThreadPoolExecutor(2) as senders:
        answers = [*senders.map(decide, workers), *map(decide, workers)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1
    assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False, True, True, True]
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Mapping)) == 1
        assert session.scalar(select(func.count()).select_from(OutboxCommand)) == 1

    promote(2)
    for client in workers:
        until(lambda: asked(client).json()["model_version"] == "1.1", "a worker does not follow")  # noqa: B023

    with transaction() as session:
        keys.revoke(session, key_id)
    for client in workers:
        until(lambda: asked(client).status_code == 401, "a worker takes a revoked key")  # noqa: B023
    assert [asked(client).status_code for client in workers] == [401, 401]
