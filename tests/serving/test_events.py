"""``POST /v1/events``: whole or not at all, once, and only of the key's company."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Event
from serving.routes.events import EXAMPLE
from serving.runtime import Runtime
from tests.serving.conftest import check_problem
from tests.serving.fakes import FakeSource


@pytest.fixture
def client(running: TestClient, store: Engine, source: FakeSource, runtime: Runtime) -> Iterator[TestClient]:
    yield running
    assert runtime.log.flush(within_seconds=5)


def event(number: int, **change: Any) -> dict[str, Any]:
    return {**EXAMPLE, "event_id": f"e-{number}", **change}


def recorded() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Event)) or 0


def test_events_are_recorded_once(client: TestClient, own: dict[str, str]) -> None:
    batch = {"events": [event(i) for i in range(1000)]}
    assert client.post("/v1/events", json=batch, headers=own).json() == {"recorded": 1000, "repeated": 0}
    assert client.post("/v1/events", json=batch, headers=own).json() == {"recorded": 0, "repeated": 1000}
    assert client.post("/v1/events", json={"events": []}, headers=own).json() == {"recorded": 0, "repeated": 0}
    assert recorded() == 1000
    changed = {"events": [event(1, occurred_at="2026-03-01T00:00:00Z")]}
    check_problem(client.post("/v1/events", json=changed, headers=own), 409, "e-1")


def test_a_decision_event_changes_its_mapping(client: TestClient, own: dict[str, str]) -> None:
    payload = {
        "system": "quickbooks",
        "source_code": "ELEC-105",
        "action": "accept",
        "target_code": "50100",
        "decided_by": "u-1",
    }
    body = {"events": [event(1, kind="mapping_decision", payload=payload)]}
    assert client.post("/v1/events", json=body, headers=own).status_code == 200
    assert client.get("/v1/mappings", headers=own).json()["mapped"] == 1
    unknown = {"events": [event(2), event(3, kind="mapping_decision", payload={**payload, "target_code": "x"})]}
    problem = check_problem(client.post("/v1/events", json=unknown, headers=own), 400)
    assert problem["errors"][0]["loc"] == ["events", 1, "payload", "target_code"]
    assert recorded() == 1


def test_whose_events(client: TestClient, own: dict[str, str], platform: dict[str, str]) -> None:
    bare = {name: value for name, value in EXAMPLE.items() if name != "company_id"}
    assert client.post("/v1/events", json={"events": [bare]}, headers=own).json()["recorded"] == 1
    problem = check_problem(client.post("/v1/events", json={"events": [event(1), bare]}, headers=platform), 400)
    assert problem["errors"][0]["loc"] == ["events", 1, "company_id"]
    mixed = {"events": [event(2), event(3, company_id="c-18"), event(4, company_id="c-99")]}
    problem = check_problem(client.post("/v1/events", json=mixed, headers=own), 403)
    assert [error["loc"] for error in problem["errors"]] == [["events", 1, "company_id"], ["events", 2, "company_id"]]
    check_problem(client.post("/v1/events", json=mixed, headers=platform), 400, "c-99")
    assert recorded() == 1


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"kind": "gossip"}, ["kind"]),
        ({"event_id": ""}, ["event_id"]),
        ({"occurred_at": "yesterday"}, ["occurred_at"]),
        ({"occurred_at": "2026-03-02T14:00:00"}, ["occurred_at"]),
        ({"payload": {}}, ["payload", "integration_id"]),
        ({"payload": {**EXAMPLE["payload"], "status_code": -1}}, ["payload", "status_code"]),  # type: ignore[dict-item]
        ({"payload": []}, ["payload"]),
        ({"surprise": 1}, ["surprise"]),
    ],
)
def test_wrong_events_are_named(
    client: TestClient, own: dict[str, str], change: dict[str, Any], loc: list[str]
) -> None:
    body = {"events": [event(1), {**event(2), **change}]}
    problem = check_problem(client.post("/v1/events", json=body, headers=own), 400)
    assert ["events", 1, *loc] in [error["loc"] for error in problem["errors"]]
    assert recorded() == 0


def test_impossible_moments(client: TestClient, own: dict[str, str]) -> None:
    future = (clock.now() + timedelta(hours=1)).isoformat()
    for moment in (future, "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"):
        check_problem(client.post("/v1/events", json={"events": [event(1, occurred_at=moment)]}, headers=own), 400)


def test_too_many_events(client: TestClient, own: dict[str, str]) -> None:
    check_problem(client.post("/v1/events", json={"events": [event(1)] * 1001}, headers=own), 400, "events")
    for body in ({}, {"events": None}, {"events": [1]}, {"events": [], "more": 1}):
        check_problem(client.post("/v1/events", json=body, headers=own), 400)
