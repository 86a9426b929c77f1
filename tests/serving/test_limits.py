"""What takes too long, or comes in too great a number, is refused as the contract says: 408, 413, 429 and 503."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from crewflow_assets.experiments import ledger
from serving import body
from serving.guard import OPEN_BODY_BYTES, OPEN_PATHS
from serving.problems import RETRY_SECONDS
from serving.service import GuardedService
from tests.serving.conftest import bearer, check_problem
from tests.serving.test_connections import served


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_an_open_path_takes_no_large_body(client: TestClient, path: str) -> None:
    small, large = b" " * OPEN_BODY_BYTES, b" " * (OPEN_BODY_BYTES + 1)
    answer = client.request("GET", path, content=small, follow_redirects=False)
    assert answer.status_code == (307 if path == "/" else 200), answer.text
    for method in ("GET", "POST"):
        refused = client.request(method, path, content=large)
        check_problem(refused, 413, "takes no body")
        assert refused.headers["connection"] == "close"
    parts = (large[i : i + 100] for i in range(0, len(large), 100))
    check_problem(client.request("GET", path, content=parts), 413)


def unfinished(address: tuple[str, int], headers: dict[str, str]) -> tuple[HTTPResponse, dict[str, Any]]:
    """Send a request whose body does not come to an end; return the answer and what it says."""
    connection = HTTPConnection(*address, timeout=60)
    try:
        connection.putrequest("POST", "/v1/events")
        for name, value in {**headers, "Content-Length": "100"}.items():
            connection.putheader(name, value)
        connection.endheaders(b'{"events": [')
        answer = connection.getresponse()
        return answer, json.loads(answer.read())
    finally:
        connection.close()


def test_a_body_that_does_not_come_to_an_end(
    own: dict[str, str], service: GuardedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.2)
    with served(service.to_asgi()) as address:
        answer, told = unfinished(address, own)
        refused, _ = unfinished(address, bearer("cfk_wrong"))
    assert (answer.status, told["status"], told["title"]) == (408, 408, "Request too slow")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert told["request_id"] == answer.headers["x-request-id"]
    assert refused.status == 401, "without a key no body is waited for"


class Held:
    """Requests that do not come to an end before they may."""

    def __init__(self) -> None:
        self.come = threading.Semaphore(0)
        self.may_go = threading.Event()

    def every(self, session: Any) -> list[Any]:  # noqa: ARG002
        """Stand in for what lists all experiments."""
        self.come.release()
        assert self.may_go.wait(60)
        return []


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(ledger, "every", held.every)
    yield held
    held.may_go.set()


@contextmanager
def limited(made: GuardedService, monkeypatch: pytest.MonkeyPatch, **traffic: float) -> Iterator[httpx.Client]:
    """Serve with other limits, and without metrics: they can be registered once in a process."""
    with monkeypatch.context() as patched:
        patched.setitem(made.config, "traffic", {**made.config["traffic"], **traffic})
        patched.setitem(made.config, "metrics", {"enabled": False})
        app = made.to_asgi()
    made.inject_config()
    with served(app) as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as http:
        yield http


def test_the_limits_are_those_that_the_documentation_names(service: GuardedService) -> None:
    assert service.config["traffic"] == {"timeout": 60, "max_concurrency": 512}
    assert body.BODY_SECONDS == 60


def test_a_request_that_takes_too_long(
    platform: dict[str, str], service: GuardedService, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(service, monkeypatch, timeout=0.2) as http:
        answer = http.get("/v1/experiments", headers=platform)
        check_problem(answer, 503, "took too long")
        assert answer.headers["retry-after"] == str(RETRY_SECONDS)
        held.may_go.set()
        assert http.get("/v1/experiments", headers=platform).json() == {"experiments": []}


def test_a_server_that_is_full(
    platform: dict[str, str], service: GuardedService, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(service, monkeypatch, max_concurrency=2) as http, ThreadPoolExecutor(2) as senders:
        first = [senders.submit(http.get, "/v1/experiments", headers=platform) for _ in range(2)]
        for _ in first:
            assert held.come.acquire(timeout=60)
        answer = http.get("/v1/models", headers=platform)
        check_problem(answer, 429, "as many requests as it can")
        assert answer.headers["retry-after"] == str(RETRY_SECONDS)
        assert http.get("/livez").status_code == 200, "a full server lives"
        held.may_go.set()
        assert [one.result().status_code for one in first] == [200, 200]
        assert http.get("/v1/models", headers=platform).status_code == 200
