"""The Python client against the application, and against a server that fails."""

import time
from collections.abc import Callable

import httpx
import pytest
from starlette.testclient import TestClient

from serving import client as client_module
from serving.client import MLClient, MLProblem

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def through(client: TestClient, headers: dict[str, str]) -> MLClient:
    def forward(request: httpx.Request) -> httpx.Response:
        answer = client.post(request.url.path, content=request.content, headers=dict(request.headers))
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    return MLClient("http://test", headers["Authorization"].split()[1], transport=httpx.MockTransport(forward))


def failing(*answers: httpx.Response | Exception) -> tuple[MLClient, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return MLClient("http://test", "k", transport=httpx.MockTransport(handler)), asked


def test_predictions(client: TestClient, own: dict[str, str]) -> None:
    with through(client, own) as ml:
        assert ml.predict("echo", "champion", {"text": "hi"})["said"] == "hi"
        assert ml.predict("echo", "1.0", {"text": "hi"})["variant"] == "pinned"
        assert ml.predict("echo", None, {"text": "hi"})["variant"] == "champion"
        assert [one["variant"] for one in ml.predict_batch("echo", None, [{"text": "a"}])] == ["champion"]
        batch = ml.predict_batch("echo", "challenger", [{"text": "a"}, {"text": "b"}])
        assert [one["said"] for one in batch] == ["a", "b"]
        with pytest.raises(MLProblem, match="unknown field") as refused:
            ml.predict("echo", "champion", {"txt": "hi"})
    assert refused.value.status == 400
    assert refused.value.title == "Bad request"
    assert {error["loc"][0] for error in refused.value.errors} == {"text", "txt"}


def test_it_tries_again_where_that_may_help(pauses: list[float]) -> None:
    ok = httpx.Response(200, json={"said": "hi"})
    busy = httpx.Response(429, headers={"Retry-After": "3"}, json={"status": 429, "title": "t", "detail": "d"})
    ml, asked = failing(httpx.ConnectError("refused"), busy, ok)
    assert ml.predict("echo", "champion", {"text": "hi"}) == {"said": "hi"}
    assert len(asked) == 3
    assert pauses[1] == 3.0


def test_it_gives_up(pauses: list[float]) -> None:
    ml, asked = failing(httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError):
        ml.predict("echo", "champion", {})
    assert len(asked) == client_module.ATTEMPTS
    ml, asked = failing(httpx.Response(503, headers={"Retry-After": "2"}, text="<html>away</html>"))
    with pytest.raises(MLProblem, match="away"):
        ml.predict("echo", "champion", {})
    assert len(asked) == client_module.ATTEMPTS


@pytest.mark.parametrize(
    "answer", [httpx.Response(400, text="no"), httpx.Response(500, text="no"), httpx.Response(503, text="no")]
)
def test_it_does_not_insist(pauses: list[float], answer: httpx.Response) -> None:
    ml, asked = failing(answer)
    with pytest.raises(MLProblem, match="no"):
        ml.predict("echo", "champion", {})
    assert len(asked) == 1
    assert pauses == []
