"""The routes about conflicts, on SQLite and on PostgreSQL."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.contract import ConflictRequest, ConflictResponse
from crewflow_assets.errors import NotReadyError
from crewflow_assets.store.conflict_tables import Conflict
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import OutboxCommand
from serving.routes import conflicts
from serving.runtime import Runtime
from tests.serving.conftest import check_problem
from tests.serving.fakes import FakeSource

BODY: dict[str, Any] = {
    "conflict_id": "x-1",
    "conflict_type": "hours_mismatch",
    "crewflow_value": 8.0,
    "external_value": 7.5,
    "worker_id": "w-9",
    "project_id": "p-4",
    "timecard_date": "2026-03-01",
    "last_sync_timestamp": "2026-03-01T06:00:00Z",
    "record_id": "t-1",
    "crewflow_version": "3",
    "external_version": "7",
}


class SureModel:
    """Says use_crewflow; sure of it where the values are less than an hour apart."""

    ready = True

    def singly(self, requests: Sequence[ConflictRequest]) -> list[ConflictResponse]:
        if not self.ready:
            raise NotReadyError("no model is registered yet; run `crewflow demo`")
        return [self.answer(request) for request in requests]

    def answer(self, request: ConflictRequest) -> ConflictResponse:
        sure = abs(float(request.crewflow_value or 0) - float(request.external_value or 0)) < 1
        return ConflictResponse.model_validate(
            {
                "prediction_id": "p-1",
                "model_version": "1.3",
                "variant": "champion",
                "recommended_resolution": {"action": "use_crewflow", "value": request.crewflow_value},
                "confidence": 0.97 if sure else 0.6,
                "auto_resolve": sure,
                "reason": "CrewFlow was edited last",
                "suggestions": [{"action": "use_crewflow", "probability": 0.97 if sure else 0.6}],
            }
        )


@pytest.fixture
def model(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> SureModel:
    model = SureModel()
    monkeypatch.setitem(runtime.predictions, "conflict_resolution", model)
    return model


@pytest.fixture
def client(
    running: TestClient, store: Engine, source: FakeSource, runtime: Runtime, setting: Any, model: SureModel
) -> Iterator[TestClient]:
    setting("withheld_share", 0)
    yield running
    assert runtime.log.flush(within_seconds=5)


@pytest.fixture
def keyed(own: dict[str, str]) -> Any:
    """Return headers of company c-17's key with an idempotency key."""
    return lambda key: {**own, "Idempotency-Key": key}


@pytest.fixture
def on(client: TestClient, keyed: Any) -> dict[str, Any]:
    """The switch of hours is automatic."""
    body = {"conflict_type": "hours_mismatch", "mode": "automatic", "decided_by": "u-1"}
    answer = client.post("/v1/conflicts/switches", json=body, headers=keyed("switch"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def count(table: Any) -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_sure_model_decides_what_is_reported_once(
    client: TestClient, keyed: Any, own: dict[str, str], on: dict[str, Any]
) -> None:
    first = client.post("/v1/conflicts", json=BODY, headers=keyed("k-1"))
    assert first.status_code == 200, first.text
    told = first.json()
    assert (told["state"], told["resolution"], told["method"]) == (
        "resolved",
        {"action": "use_crewflow", "value": 8.0},
        "model",
    )
    assert (told["review_reason"], told["model_version"]) == (None, "1.3")
    again = client.post("/v1/conflicts", json=BODY, headers=keyed("k-1"))
    assert again.json() == told
    assert again.headers["idempotent-replayed"] == "true"
    assert (count(Conflict), count(OutboxCommand)) == (1, 1)
    check_problem(client.post("/v1/conflicts", json={**BODY, "crewflow_value": 9}, headers=keyed("k-1")), 409)
    [listed] = client.get("/v1/conflicts?state=resolved", headers=own).json()["items"]
    assert listed["decision_id"] == told["decision_id"]


def test_what_is_unsure_waits_with_suggestions(client: TestClient, keyed: Any, on: dict[str, Any]) -> None:
    told = client.post("/v1/conflicts", json={**BODY, "external_value": 2.0}, headers=keyed("k-1")).json()
    assert told["state"] == "open"
    assert "60% sure of use_crewflow" in told["review_reason"]
    assert told["suggestions"] == [{"action": "use_crewflow", "probability": 0.6}]
    choice = {"resolution": "use_external", "decided_by": "u-2"}
    decided = client.post("/v1/conflicts/x-1/resolve", json=choice, headers=keyed("k-2"))
    assert (decided.json()["method"], decided.json()["resolution"]["value"]) == ("person", 2.0)
    other = {"resolution": "use_crewflow", "decided_by": "u-3"}
    check_problem(client.post("/v1/conflicts/x-1/resolve", json=other, headers=keyed("k-3")), 409, "u-2")
    check_problem(client.post("/v1/conflicts/x-1/resolve", json={"decided_by": "u-3"}, headers=keyed("k-4")), 409)


@pytest.mark.parametrize("mode", ["off", "suggest", "automatic"])
def test_the_model_is_not_asked_about_what_is_decided(client: TestClient, keyed: Any, mode: str) -> None:
    switch = {"conflict_type": "hours_mismatch", "mode": mode, "decided_by": "u-1"}
    assert client.post("/v1/conflicts/switches", json=switch, headers=keyed("switch")).status_code == 200
    client.post("/v1/conflicts", json={**BODY, "external_value": 2.0}, headers=keyed("k-1"))
    choice = {"resolution": "use_external", "decided_by": "u-2"}
    assert client.post("/v1/conflicts/x-1/resolve", json=choice, headers=keyed("k-2")).status_code == 200
    asked = client.post("/v1/conflicts/x-1/resolve", json={"decided_by": "u-3"}, headers=keyed("k-3"))
    check_problem(asked, 409, "u-2")


@pytest.mark.parametrize("mode", ["off", "automatic"])
def test_a_report_that_is_sent_again_after_a_person_decided_gets_what_stands(
    client: TestClient, keyed: Any, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = {"conflict_type": "hours_mismatch", "mode": mode, "decided_by": "u-1"}
    assert client.post("/v1/conflicts/switches", json=switch, headers=keyed("switch")).status_code == 200
    with monkeypatch.context() as patched:
        patched.setattr(conflicts, "automatically", away)
        assert client.post("/v1/conflicts", json=BODY, headers=keyed("k-1")).status_code == 500
    choice = {"resolution": "use_external", "decided_by": "u-2"}
    assert client.post("/v1/conflicts/x-1/resolve", json=choice, headers=keyed("k-2")).status_code == 200
    again = client.post("/v1/conflicts", json=BODY, headers=keyed("k-1"))
    assert again.status_code == 200, again.text
    told = again.json()
    assert (told["state"], told["decided_by"], told["review_reason"]) == ("resolved", "u-2", None)


def away(*_args: Any, **_named: Any) -> Any:
    raise SystemError("the process dies between the report and the model")


def test_without_a_model_or_permission_a_person_decides(
    client: TestClient, keyed: Any, own: dict[str, str], model: SureModel
) -> None:
    body = {name: value for name, value in BODY.items() if name != "conflict_id"}
    told = client.post("/v1/conflicts", json=body, headers=keyed("k-1")).json()
    assert told["conflict_id"].startswith("x-")
    assert told["review_reason"] == "automatic resolution of hours_mismatch is set to 'suggest'"
    assert told["suggestions"] is not None
    model.ready = False
    told = client.post("/v1/conflicts", json={**BODY, "record_id": "t-2"}, headers=keyed("k-2")).json()
    assert (told["state"], told["review_reason"]) == ("open", "no model is registered yet; run `crewflow demo`")
    ask = {"decided_by": "u-1"}
    check_problem(client.post("/v1/conflicts/x-1/resolve", json=ask, headers=keyed("k-3")), 503, "crewflow demo")
    check_problem(client.get("/v1/conflicts?suggestions=true", headers=own), 503)
    assert len(client.get("/v1/conflicts", headers=own).json()["items"]) == 2


def test_an_edit_that_ends_the_contradiction_leaves_nothing_to_ask(
    client: TestClient, keyed: Any, own: dict[str, str]
) -> None:
    client.post("/v1/conflicts", json=BODY, headers=keyed("k-1"))
    version = {"record_type": "timecard", "record_id": "t-1", "side": "external", "version": "8"}
    event = {
        "event_id": "e-1",
        "kind": "record_version",
        "occurred_at": clock.now().isoformat(),
        "payload": {**version, "values": {"hours": 8.0}},
    }
    assert client.post("/v1/events", json={"events": [event]}, headers=own).status_code == 200
    told = client.post("/v1/conflicts/x-1/resolve", json={"decided_by": "u-1"}, headers=keyed("k-2")).json()
    assert (told["state"], told["external_value"]) == ("reopened", 8.0)
    assert "nothing contradicts" in told["review_reason"]
    [listed] = client.get("/v1/conflicts?suggestions=true", headers=own).json()["items"]
    assert listed["suggestions"] is None
    choice = {"resolution": "use_crewflow", "decided_by": "u-1"}
    assert client.post("/v1/conflicts/x-1/resolve", json=choice, headers=keyed("k-3")).json()["state"] == "resolved"
    assert count(OutboxCommand) == 0


def test_what_is_withheld_is_shown_to_nobody(
    client: TestClient, keyed: Any, own: dict[str, str], on: dict[str, Any], setting: Any
) -> None:
    setting("withheld_share", 0.5)
    blind = 0
    for number in range(12):
        body = {**BODY, "conflict_id": f"x-{number}", "record_id": f"t-{number}"}
        told = client.post("/v1/conflicts", json=body, headers=keyed(f"k-{number}")).json()
        if told["blind"]:
            blind += 1
            assert (told["state"], told["suggestions"], told["review_reason"]) == ("open", None, None)
            assert (told["resolution"], told["confidence"], told["reason"]) == (None, None, None)
    assert 0 < blind < 12
    listed = client.get("/v1/conflicts?suggestions=true", headers=own).json()
    assert listed["open"] == blind == len(listed["items"])
    assert {item["suggestions"] is None for item in listed["items"]} == {True}


def test_undo_gives_back_once_and_in_bulk(
    client: TestClient, keyed: Any, own: dict[str, str], on: dict[str, Any]
) -> None:
    for number in range(4):
        body = {**BODY, "conflict_id": f"x-{number}", "record_id": f"t-{number}"}
        client.post("/v1/conflicts", json=body, headers=keyed(f"k-{number}"))
    with ThreadPoolExecutor(6) as pool:
        undo = list(
            pool.map(
                lambda n: client.post(
                    "/v1/conflicts/x-0/undo", json={"decided_by": "u-2"}, headers=keyed(f"u-{n % 3}")
                ),
                range(6),
            )
        )
    assert {answer.status_code for answer in undo} == {200, 409}
    assert len({answer.text for answer in undo if answer.status_code == 200}) == 1
    assert count(OutboxCommand) == 5
    bulk = {"model_version": "1.3", "decided_by": "u-2"}
    path = "/v1/conflicts/undo"
    dry = client.post(path, json={**bulk, "dry_run": True}, headers=keyed("b-1")).json()
    assert (dry["undone"], count(OutboxCommand)) == (3, 5)
    assert client.post(path, json=bulk, headers=keyed("b-2")).json()["undone"] == 3
    check_problem(client.post(path, json={"decided_by": "u-2"}, headers=keyed("b-3")), 400, "decided_after")
    found = client.get("/v1/conflicts/metrics", headers=own).json()
    assert (found["auto_resolved"], found["auto_resolution_overridden"], found["accuracy_rate"]) == (4, 4, 0)
    [hours] = [s for s in client.get("/v1/conflicts/switches", headers=own).json()["items"] if s["stopped_at"]]
    assert "overrode" in hours["stopped_reason"]


def test_the_queue_is_oldest_and_largest_first_in_pages(client: TestClient, keyed: Any, own: dict[str, str]) -> None:
    for number, hours in enumerate((7.5, 4.0, 8.25, 4.0, 1.0)):
        body = {**BODY, "conflict_id": f"x-{number}", "record_id": f"t-{number}", "external_value": hours}
        assert client.post("/v1/conflicts", json=body, headers=keyed(f"k-{number}")).status_code == 200
    first = client.get("/v1/conflicts?limit=3", headers=own).json()
    rest = client.get("/v1/conflicts", params={"limit": 3, "after": first["next"]}, headers=own).json()
    assert [i["conflict_id"] for i in first["items"] + rest["items"]] == ["x-4", "x-1", "x-3", "x-0", "x-2"]
    assert (first["open"], rest["next"]) == (5, None)
    assert client.get("/v1/conflicts?type=duplicate", headers=own).json()["items"] == []
    check_problem(client.get("/v1/conflicts?after=x-9", headers=own), 404, "x-9")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"external_value": 8.0}, "nothing contradicts"),
        ({"external_value": "8h"}, "needs hours"),
        ({"conflict_type": "weather"}, "conflict_type"),
        ({"colour": "red"}, "unknown field"),
        ({"external_value": None, "crewflow_value": None}, "both null"),
        ({"timecard_date": "1999-01-01"}, "check the year"),
        ({"crewflow_value": 1e400}, "crewflow_value"),
    ],
)
def test_bad_reports_are_named(client: TestClient, keyed: Any, changes: dict[str, Any], field: str) -> None:
    body = str({**BODY, **changes}).replace("'", '"').replace("None", "null").replace("inf", "1e400")
    headers = {**keyed("k-1"), "content-type": "application/json"}
    check_problem(client.post("/v1/conflicts", content=body, headers=headers), 400, field)
    assert count(Conflict) == 0


def test_a_company_sees_and_moves_its_own_conflicts_alone(
    client: TestClient, keyed: Any, own: dict[str, str], platform: dict[str, str]
) -> None:
    theirs = {**BODY, "company_id": "c-18"}
    head = {**platform, "Idempotency-Key": "k-1"}
    assert client.post("/v1/conflicts", json=theirs, headers=head).status_code == 200
    check_problem(client.post("/v1/conflicts", json=theirs, headers=keyed("k-2")), 403)
    choice = {"resolution": "manual", "decided_by": "u"}
    check_problem(client.post("/v1/conflicts/x-1/resolve", json=choice, headers=keyed("k-3")), 404, "x-1")
    check_problem(client.post("/v1/conflicts/x-1/undo", json={"decided_by": "u"}, headers=keyed("k-4")), 404)
    assert client.get("/v1/conflicts", headers=own).json()["items"] == []
    for path in ("/v1/conflicts", "/v1/conflicts/metrics", "/v1/conflicts/switches"):
        check_problem(client.get(path, params={"company_id": "c-18"}, headers=own), 403)
        check_problem(client.get(path, headers=platform), 400, "company_id")
        assert client.get(path, params={"company_id": "c-18"}, headers=platform).status_code == 200
    check_problem(
        client.post("/v1/conflicts/x-1/undo", json={"decided_by": "u"}, headers=own), 400, "Idempotency-Key"
    )
