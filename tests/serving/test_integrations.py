"""The routes about integrations, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.store.database import transaction
from crewflow_assets.store.sync_tables import HealthScore, SyncRisk
from crewflow_assets.sync_health.integrations import register
from crewflow_assets.sync_health.watch import Scored, tick
from serving.runtime import Runtime
from tests.serving.conftest import check_problem
from tests.serving.fakes import FakeSource
from tests.sync_health.watching import DETAIL, HEALTHY, commands, risk

HEALTH = "/v1/integrations/i-3/health"


@pytest.fixture
def client(running: TestClient, store: Engine, source: FakeSource, runtime: Runtime) -> Iterator[TestClient]:
    yield running
    assert runtime.log.flush(within_seconds=5)


@pytest.fixture
def now(client: TestClient, own: dict[str, str], setting: Any) -> datetime:
    """Integration i-3 of company c-17 has synced a minute ago; nothing is withheld."""
    setting("withheld_share", 0)
    at = clock.now()
    synced = {"integration_id": "i-3", "system": "quickbooks", "ok": True, "interval_minutes": 15}
    event = {
        "event_id": "e-1",
        "kind": "sync_attempt",
        "occurred_at": (at - timedelta(minutes=1)).isoformat(),
        "payload": synced,
    }
    assert client.post("/v1/events", json={"events": [event]}, headers=own).json() == {"recorded": 1, "repeated": 0}
    return at


def watch(at: datetime, found: Any) -> None:
    tick(lambda keys, _: [Scored(found, 15.0) for _ in keys], at, model_version="1.0")


def health(client: TestClient, headers: dict[str, str]) -> dict[str, Any]:
    answer = client.get(HEALTH, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def undo(client: TestClient, action_id: str, headers: dict[str, str], key: str = "k-1") -> Any:
    path = f"/v1/integrations/i-3/actions/{action_id}/undo"
    return client.post(path, json={"decided_by": "u-204"}, headers={**headers, "Idempotency-Key": key})


def test_before_the_first_tick_nothing_is_foreseen(client: TestClient, own: dict[str, str], now: datetime) -> None:
    found = health(client, own)
    assert (found["company_id"], found["system"], found["status"]) == ("c-17", "quickbooks", None)
    assert found["schedule"] == {
        "state": "active",
        "until": None,
        "interval_minutes": 15.0,
        "usual_interval_minutes": 15.0,
        "freshness_minutes": 240.0,
    }
    assert found["actions"] == found["alerts"] == found["risk_factors"] == []
    assert found["overall_score"] is None
    assert set(found["components"].values()) == {None}


def test_the_dashboard_shows_risk_actions_alerts_and_score(
    client: TestClient, own: dict[str, str], now: datetime
) -> None:
    with transaction() as session:
        session.add(
            HealthScore(
                company_id="c-17",
                integration_id="i-3",
                day=now.date() - timedelta(days=1),
                total_syncs=100,
                successful_syncs=99,
                error_count=1,
                conflicts=3,
                duplicates=1,
                sync_success_rate=99,
                latency=36,
                error_rate=99,
                data_quality=96,
                overall=82.5,
            )
        )
    watch(now, risk(0.75, "rate_limit", "data_quality"))
    found = health(client, own)
    assert (found["status"], found["failure_probability"], found["horizon_minutes"]) == ("at_risk", 0.75, 15)
    assert [factor["code"] for factor in found["risk_factors"]] == ["rate_limit", "data_quality"]
    assert (found["schedule"]["state"], found["schedule"]["interval_minutes"]) == ("slowed", 30)
    shown = [(a["action"], a["automatic"], a["done"], a["action_id"] is None) for a in found["actions"]]
    assert shown == [("slow_down", True, True, False), ("review_records", False, False, True)]
    [alert] = found["alerts"]
    assert (alert["code"], alert["told"]) == ("rate_limit", True)
    assert alert["message"] == f"The next quickbooks sync will probably fail (75%): {DETAIL}"
    assert found["overall_score"] == 82.5
    assert found["components"]["data_quality"] == 96
    [listed] = client.get("/v1/integrations", headers=own).json()["items"]
    assert (listed["status"], listed["state"], listed["open_alerts"]) == ("at_risk", "slowed", 1)


def test_a_pause_is_over_at_its_time_also_where_no_tick_has_noted_it(
    client: TestClient, own: dict[str, str], now: datetime
) -> None:
    watch(now - timedelta(minutes=61), HEALTHY)
    with transaction() as session:
        session.execute(delete(SyncRisk))
    watch(now - timedelta(minutes=60), risk(0.9, "api_down"))
    found = health(client, own)
    assert (found["schedule"]["state"], found["schedule"]["until"]) == ("active", None)
    assert [action["action_id"] for action in found["actions"]] == [None]


def test_undoing_is_answered_with_the_action_and_acts_once(
    client: TestClient, own: dict[str, str], now: datetime
) -> None:
    watch(now, risk(0.9, "api_down"))
    [action] = client.get("/v1/integrations/i-3/actions", headers=own).json()["items"]
    assert (action["state"], action["delivered"]) == ("in_force", False)
    undone = undo(client, action["action_id"], own)
    assert undone.status_code == 200, undone.text
    assert (undone.json()["state"], undone.json()["ended_by"]) == ("undone", "u-204")
    again = undo(client, action["action_id"], own)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == undone.json()
    check_problem(undo(client, action["action_id"], own, "k-2"), 409, "undone by 'u-204'")
    assert commands().count("sync.resume") == 1
    assert health(client, own)["schedule"]["state"] == "active"


def test_undone_many_times_at_once_it_acts_once(client: TestClient, own: dict[str, str], now: datetime) -> None:
    watch(now, risk(0.9, "api_down"))
    [action] = client.get("/v1/integrations/i-3/actions", headers=own).json()["items"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: undo(client, action["action_id"], own, f"k-{n % 4}"), range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) == {200, 409}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1
    assert commands().count("sync.resume") == 1


def test_an_undo_needs_its_key_and_a_person(client: TestClient, own: dict[str, str], now: datetime) -> None:
    path = "/v1/integrations/i-3/actions/act-1/undo"
    check_problem(client.post(path, json={"decided_by": "u-1"}, headers=own), 400, "Idempotency-Key")
    check_problem(client.post(path, json={}, headers={**own, "Idempotency-Key": "k"}), 400, "decided_by")
    check_problem(undo(client, "act-1", own), 404, "act-1")


def test_a_company_sees_and_moves_its_own_integrations_alone(
    client: TestClient, own: dict[str, str], platform: dict[str, str], now: datetime
) -> None:
    with transaction() as session:
        register(session, company_id="c-18", integration_id="i-8", system="xero", actor="dana")
    check_problem(client.get("/v1/integrations/i-8/health", headers=own), 404, "i-8")
    for path in ("/v1/integrations/i-8/health", "/v1/integrations/i-8/actions", "/v1/integrations"):
        check_problem(client.get(path, params={"company_id": "c-18"}, headers=own), 403, "c-17")
        check_problem(client.get(path, headers=platform), 400, "company_id")
        assert client.get(path, params={"company_id": "c-18"}, headers=platform).status_code == 200
    body = {"decided_by": "u-1", "company_id": "c-18"}
    path = "/v1/integrations/i-8/actions/act-1/undo"
    check_problem(client.post(path, json=body, headers={**own, "Idempotency-Key": "k"}), 403)
    check_problem(client.get("/v1/integrations", params={"company_id": "c-99"}, headers=platform), 404, "c-99")


def test_lists_come_in_pages(client: TestClient, own: dict[str, str], now: datetime) -> None:
    with transaction() as session:
        for number in (5, 1, 9):
            register(session, company_id="c-17", integration_id=f"i-{number}", system="sage", actor="dana")
    first = client.get("/v1/integrations", params={"limit": 3}, headers=own).json()
    rest = client.get("/v1/integrations", params={"limit": 3, "after": first["next"]}, headers=own).json()
    assert [item["integration_id"] for item in first["items"] + rest["items"]] == ["i-1", "i-3", "i-5", "i-9"]
    assert rest["next"] is None
    check_problem(client.get("/v1/integrations/i-3/actions", params={"after": "act-0"}, headers=own), 404, "act-0")
    check_problem(client.get("/v1/integrations", params={"limit": 0}, headers=own), 400, "limit")


@pytest.mark.parametrize("name", ["i%0a3", "%00", "x" * 101, "%2e%2e", "é", "i 3"])
def test_odd_ids_are_refused_or_unknown(client: TestClient, own: dict[str, str], now: datetime, name: str) -> None:
    for path in (f"/v1/integrations/{name}/health", f"/v1/integrations/{name}/actions"):
        assert client.get(path, headers=own).status_code in {400, 404}
