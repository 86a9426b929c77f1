"""Connections end now and then: the answer is complete, and the next request goes over a new one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from crewflow_assets.settings import get_settings
from serving import connections
from serving.connections import Spreading
from serving.guard import Guard
from serving.service import GuardedService

LONG = b"x" * 300_000


async def much(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer in two parts."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": LONG, "more_body": True})
    await send({"type": "http.response.body", "body": LONG})


@contextmanager
def served(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """Serve with uvicorn, as BentoML does; yields host and port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(30)


def test_an_answer_that_ends_its_connection_is_whole_and_the_next_request_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = iter([0.9, 0.004, 0.006, 0.9])
    monkeypatch.setattr(connections, "random", lambda: next(draws))
    found = []
    with served(Spreading(much, 200)) as address:
        client = HTTPConnection(*address)
        for _ in range(4):
            client.request("GET", "/")  # over a new connection where there is none
            answer = client.getresponse()
            found.append((answer.headers["Connection"], answer.read() == 2 * LONG, client.sock is None))
        client.close()
    assert found == [(None, True, False), ("close", True, True), (None, True, False), (None, True, False)]


def test_one_in_so_many_answers_ends_its_connection() -> None:
    with served(Spreading(much, 4)) as (host, port), httpx.Client(base_url=f"http://{host}:{port}") as client:
        closed = sum(client.head("/").headers.get("connection") == "close" for _ in range(400))
    assert 50 < closed < 160


@pytest.mark.parametrize(("workers", "kind"), [(1, Guard), (2, Spreading)])
def test_a_single_worker_keeps_its_connections(
    service: GuardedService, monkeypatch: pytest.MonkeyPatch, workers: int, kind: type
) -> None:
    monkeypatch.setenv("CREWFLOW_GATEWAY_WORKERS", str(workers))
    get_settings.cache_clear()
    assert isinstance(service.to_asgi(), kind)
