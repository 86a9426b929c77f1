"""A request that is repeated under its key is answered from what is stored: neither model nor registry is asked."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.testclient import TestClient

from crewflow_assets.conflict_resolution.contract import ConflictRequest, ConflictResponse
from serving.routes import conflicts
from serving.runtime import Runtime
from tests.serving.conftest import check_problem
from tests.serving.fakes import FakeSource
from tests.serving.test_conflicts import BODY as CONFLICT
from tests.serving.test_conflicts import SureModel
from tests.serving.test_experiments import BODY as EXPERIMENT

UNSURE = {**CONFLICT, "external_value": 2.0}


class CountingModel(SureModel):
    """Counts how often it is asked."""

    asked = 0

    def singly(self, requests: Sequence[ConflictRequest]) -> list[ConflictResponse]:
        self.asked += 1
        return super().singly(requests)


@pytest.fixture
def model(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> CountingModel:
    model = CountingModel()
    monkeypatch.setitem(runtime.predictions, "conflict_resolution", model)
    return model


@pytest.fixture
def post(client: TestClient, model: CountingModel, own: dict[str, str]) -> Any:
    """Send a request of company c-17 under an idempotency key."""

    def send(path: str, body: dict[str, Any], key: str, headers: dict[str, str] = own) -> Any:
        return client.post(path, json=body, headers={**headers, "Idempotency-Key": key})

    switch = {"conflict_type": "hours_mismatch", "mode": "automatic", "decided_by": "u-1"}
    assert send("/v1/conflicts/switches", switch, "switch").status_code == 200
    return send


def check_replay(again: Any, first: Any) -> None:
    assert again.status_code == 200, again.text
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("body", [CONFLICT, UNSURE], ids=["decided", "left open"])
def test_a_repeated_report_needs_no_model(
    post: Any, model: CountingModel, body: dict[str, Any], setting: Any
) -> None:
    setting("withheld_share", 0)
    first = post("/v1/conflicts", body, "k-1")
    assert first.json()["state"] == ("resolved" if body is CONFLICT else "open")
    model.ready = False
    check_replay(post("/v1/conflicts", body, "k-1"), first)
    assert model.asked == 1


def test_a_repeated_resolution_needs_no_model(post: Any, model: CountingModel, setting: Any) -> None:
    setting("withheld_share", 0)
    model.ready = False
    assert post("/v1/conflicts", CONFLICT, "k-1").json()["state"] == "open"
    model.ready = True
    path, body = "/v1/conflicts/x-1/resolve", {"decided_by": "u-1"}
    first = post(path, body, "k-2")
    assert first.json()["state"] == "resolved"
    model.ready, model.asked = False, 0
    check_replay(post(path, body, "k-2"), first)
    assert model.asked == 0
    check_problem(post(path, {"decided_by": "u-9"}, "k-2"), 409, "other content")
    assert model.asked == 0, "nor is it asked where the key was used for another request"


@pytest.mark.parametrize("key", [None, "", "x" * 201])
def test_a_decision_without_a_proper_key_asks_no_model(
    client: TestClient, post: Any, model: CountingModel, own: dict[str, str], key: str | None
) -> None:
    post("/v1/conflicts", UNSURE, "k-1")
    model.asked = 0
    headers = own if key is None else {**own, "Idempotency-Key": key}
    check_problem(client.post("/v1/conflicts/x-1/resolve", json={"decided_by": "u-1"}, headers=headers), 400)
    assert model.asked == 0


def test_an_experiment_that_was_started_needs_no_registry_to_say_so(
    post: Any, platform: dict[str, str], source: FakeSource, no_experiment_left: None
) -> None:
    first = post("/v1/experiments", EXPERIMENT, "k-1", platform)
    assert first.status_code == 200, first.text
    source.broken = True
    check_replay(post("/v1/experiments", EXPERIMENT, "k-1", platform), first)


def test_a_bulk_undo_that_was_carried_out_is_not_carried_out_again(
    post: Any, setting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting("withheld_share", 0)
    assert post("/v1/conflicts", CONFLICT, "k-1").json()["state"] == "resolved"
    body = {"model_version": "1.3", "decided_by": "u-2"}
    first = post("/v1/conflicts/undo", body, "b-1")
    assert first.json()["undone"] == 1

    def again(*_args: Any, **_named: Any) -> Any:
        raise AssertionError("it is undone a second time")

    monkeypatch.setattr(conflicts, "undo_many", again)
    check_replay(post("/v1/conflicts/undo", body, "b-1"), first)
