"""The mapping routes, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Account, AuditEntry, Company, Event, OutboxCommand
from serving.routes import mappings
from serving.runtime import Runtime
from tests.serving.conftest import MAPPING_INPUT, check_problem
from tests.serving.fakes import FakeSource

ACCEPT = {"system": "quickbooks", "source_code": "ELEC-105", "target_code": "50100", "decided_by": "u-204"}


@pytest.fixture
def client(running: TestClient, store: Engine, source: FakeSource, runtime: Runtime) -> Iterator[TestClient]:
    yield running
    assert runtime.log.flush(within_seconds=5)


def post(client: TestClient, route: str, body: dict[str, Any], headers: dict[str, str], key: str = "k-1") -> Any:
    return client.post(f"/v1/mappings/{route}", json=body, headers={**headers, "Idempotency-Key": key})


def counts() -> dict[str, int]:
    with reading() as session:
        tables = {"audit": AuditEntry, "events": Event, "outbox": OutboxCommand}
        return {name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables.items()}


def test_accept_correct_undo(client: TestClient, own: dict[str, str]) -> None:
    accepted = post(client, "accept", ACCEPT, own, "k-1")
    assert accepted.status_code == 200, accepted.text
    first = accepted.json()
    assert (first["company_id"], first["state"], first["target_code"]) == ("c-17", "mapped", "50100")
    assert (first["method"], first["decided_by"]) == ("person", "u-204")
    check_problem(post(client, "accept", {**ACCEPT, "target_code": "61000"}, own, "k-2"), 409, "50100", "correct")
    corrected = post(client, "correct", {**ACCEPT, "target_code": "61000"}, own, "k-3").json()
    assert corrected["target_code"] == "61000"
    stale = {"decision_id": first["decision_id"], "decided_by": "u-204"}
    check_problem(post(client, "undo", stale, own, "k-4"), 409, "decided again")
    undone = post(client, "undo", {**stale, "decision_id": corrected["decision_id"]}, own, "k-5").json()
    assert undone["target_code"] == "50100"
    check_problem(post(client, "undo", {**stale, "decision_id": "d-unknown"}, own, "k-6"), 404, "d-unknown")
    assert counts() == {"audit": 3, "events": 3, "outbox": 3}


def test_a_repeated_decision_is_answered_alike_and_acts_once(client: TestClient, own: dict[str, str]) -> None:
    first = post(client, "accept", ACCEPT, own)
    again = post(client, "accept", ACCEPT, own)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    explicit = post(client, "accept", {**ACCEPT, "company_id": "c-17"}, own)
    assert explicit.json() == first.json()
    assert counts() == {"audit": 1, "events": 1, "outbox": 1}
    check_problem(post(client, "accept", {**ACCEPT, "target_code": "61000"}, own), 409, "k-1")
    check_problem(post(client, "correct", ACCEPT, own), 409, "k-1")


def test_one_decision_sent_many_times_at_once_acts_once(client: TestClient, own: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(client, "accept", ACCEPT, own), range(16)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.json()["decision_id"] for answer in answers}) == 1
    assert counts() == {"audit": 1, "events": 1, "outbox": 1}


def test_two_people_at_once_cannot_both_accept(client: TestClient, own: dict[str, str]) -> None:
    def accept(target: str) -> int:
        status: int = post(client, "accept", {**ACCEPT, "target_code": target}, own, f"k-{target}").status_code
        return status

    with ThreadPoolExecutor(3) as pool:
        statuses = sorted(pool.map(accept, ("50100", "50200", "61000")))
    assert statuses == [200, 409, 409]
    assert counts() == {"audit": 1, "events": 1, "outbox": 1}


def test_a_bug_in_a_route_tells_nothing_but_its_request_id(
    client: TestClient, own: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(mappings, "review_queue", broken)
    answer = client.get("/v1/mappings", headers=own)
    body = check_problem(answer, 500)
    assert "secret" not in answer.text
    assert body["request_id"] in caplog.text
    assert "RuntimeError: secret" in caplog.text


def test_a_failed_decision_does_not_use_up_its_key(client: TestClient, own: dict[str, str]) -> None:
    check_problem(post(client, "accept", {**ACCEPT, "target_code": "99999"}, own), 400, "99999")
    assert post(client, "accept", ACCEPT, own).status_code == 200


@pytest.mark.parametrize("route", ["accept", "correct", "undo"])
@pytest.mark.parametrize("key", [None, "", "x" * 201, "a\tb"])
def test_the_idempotency_key_is_required(
    client: TestClient, own: dict[str, str], route: str, key: str | None
) -> None:
    body = ACCEPT if route != "undo" else {"decision_id": "d-1", "decided_by": "u"}
    headers = own if key is None else {**own, "Idempotency-Key": key}
    check_problem(client.post(f"/v1/mappings/{route}", json=body, headers=headers), 400, "dempotency")


def test_unknown_records_are_named_with_the_nearest(client: TestClient, own: dict[str, str]) -> None:
    problem = check_problem(post(client, "accept", {**ACCEPT, "source_code": "ELEC-1055"}, own), 400, "'ELEC-105'")
    assert problem["errors"][0]["loc"] == ["source_code"]
    problem = check_problem(post(client, "correct", {**ACCEPT, "target_code": "5010"}, own), 400, "50100")
    assert problem["errors"][0]["loc"] == ["target_code"]
    check_problem(post(client, "accept", {**ACCEPT, "system": "xero"}, own), 400, "xero")
    assert counts() == {"audit": 0, "events": 0, "outbox": 0}


@pytest.mark.parametrize(
    "change",
    [
        {"source_code": None},
        {"target_code": 50100},
        {"kind": "wage"},
        {"system": "Quick Books"},
        {"unknown": 1},
        {"decided_by": ""},
        {"decided_by": "a\x02"},
        {"prediction_id": "x" * 101},
    ],
)
def test_wrong_fields(client: TestClient, own: dict[str, str], change: dict[str, Any]) -> None:
    problem = check_problem(post(client, "accept", {**ACCEPT, **change}, own), 400)
    assert [error["loc"] for error in problem["errors"]] == [[next(iter(change))]]


def test_whose_mappings(client: TestClient, own: dict[str, str], platform: dict[str, str]) -> None:
    for route, body in (("accept", ACCEPT), ("correct", ACCEPT), ("undo", {"decision_id": "d", "decided_by": "u"})):
        check_problem(post(client, route, {**body, "company_id": "c-18"}, own), 403, "c-17")
        problem = check_problem(post(client, route, body, platform), 400, "company_id")
        assert problem["errors"][0]["loc"] == ["company_id"]
        check_problem(post(client, route, {**body, "company_id": "c-99"}, platform), 404, "c-99")
    assert post(client, "accept", {**ACCEPT, "company_id": "c-18"}, platform).json()["company_id"] == "c-18"
    check_problem(client.get("/v1/mappings?company_id=c-18", headers=own), 403)
    check_problem(client.get("/v1/mappings", headers=platform), 400, "company_id")
    check_problem(client.get("/v1/mappings?company_id=c-99&system=xero", headers=platform), 404, "c-99")


def test_a_decision_remembers_the_prediction_it_was_shown(
    client: TestClient, own: dict[str, str], platform: dict[str, str]
) -> None:
    shown = client.post("/v1/cost_code_mapping/predict", json=MAPPING_INPUT, headers=own).json()
    answer = post(client, "accept", {**ACCEPT, "prediction_id": shown["prediction_id"]}, own)
    assert answer.status_code == 200, answer.text
    with reading() as session:
        entry = session.scalars(select(AuditEntry)).one()
    assert (entry.prediction_id, entry.model_version, entry.confidence) == (shown["prediction_id"], "1.1", 0.97)
    foreign = {**MAPPING_INPUT, "company_id": "c-18"}
    other = client.post("/v1/cost_code_mapping/predict", json=foreign, headers=platform).json()
    body = {**ACCEPT, "source_code": "ELEC-110", "prediction_id": other["prediction_id"]}
    check_problem(post(client, "accept", body, own, "k-2"), 403, "not made for company")
    check_problem(
        post(client, "accept", {**body, "company_id": "c-17"}, platform, "k-3"), 403, "not made for company"
    )


@pytest.mark.parametrize("route", ["accept", "correct"])
def test_a_decision_names_no_prediction_of_another_item(client: TestClient, own: dict[str, str], route: str) -> None:
    shown = client.post("/v1/cost_code_mapping/predict", json=MAPPING_INPUT, headers=own).json()
    body = {**ACCEPT, "source_code": "ELEC-110", "prediction_id": shown["prediction_id"]}
    problem = check_problem(post(client, route, body, own), 400, "of the cost_code 'ELEC-105' of quickbooks")
    assert problem["errors"][0]["loc"] == ["prediction_id"]
    assert counts() == {"audit": 0, "events": 0, "outbox": 0}


def test_a_prediction_of_no_company_is_the_platforms_to_name(
    client: TestClient, own: dict[str, str], platform: dict[str, str]
) -> None:
    shown = client.post("/v1/cost_code_mapping/predict", json=MAPPING_INPUT, headers=platform).json()
    body = {**ACCEPT, "company_id": "c-17", "prediction_id": shown["prediction_id"]}
    check_problem(post(client, "accept", body, own, "k-1"), 403, "not made for company")
    answer = post(client, "accept", body, platform, "k-2")
    assert answer.status_code == 200, answer.text
    with reading() as session:
        entry = session.scalars(select(AuditEntry)).one()
    assert (entry.prediction_id, entry.model_version, entry.confidence) == (shown["prediction_id"], "1.1", 0.97)


def test_an_automatic_decision_never_overrides_a_person(client: TestClient, own: dict[str, str]) -> None:
    automatic = {**ACCEPT, "automatic": True, "decided_by": "cost_code_mapping"}
    assert post(client, "accept", automatic, own, "k-1").json()["method"] == "model"
    assert post(client, "correct", {**ACCEPT, "target_code": "61000"}, own, "k-2").status_code == 200
    check_problem(post(client, "accept", automatic, own, "k-3"), 409, "never overrides")


def test_the_review_queue(client: TestClient, own: dict[str, str]) -> None:
    post(client, "accept", ACCEPT, own)
    review = client.get("/v1/mappings", headers=own).json()
    assert (review["mapped"], review["total"], review["system"]) == (1, 4, "quickbooks")
    assert [item["source_code"] for item in review["items"]] == ["BLIND-1", "ELEC-110", "ELEC-120"]
    assert all(item["prediction"] is None for item in review["items"])
    mapped = client.get("/v1/mappings?state=mapped", headers=own).json()
    assert [(i["source_code"], i["target_name"], i["method"]) for i in mapped["items"]] == [
        ("ELEC-105", "Electrical Labor", "person")
    ]
    page = client.get("/v1/mappings?state=all&limit=3", headers=own).json()
    assert len(page["items"]) == 3
    rest = client.get(f"/v1/mappings?state=all&limit=3&after={page['next']}", headers=own).json()
    assert [item["source_code"] for item in rest["items"]] == ["ELEC-120"]
    assert rest["next"] is None
    assert client.get("/v1/mappings?kind=project", headers=own).json()["total"] == 0


def test_the_queue_shows_suggestions_but_not_blind_ones(client: TestClient, own: dict[str, str]) -> None:
    items = client.get("/v1/mappings?suggestions=true&state=all", headers=own).json()["items"]
    blind, shown = items[0]["prediction"], items[1]["prediction"]
    assert (blind["withheld"], blind["suggestions"], blind["method"]) == (True, [], None)
    assert shown["suggestions"][0]["target_code"] == "50100"
    accepted = post(
        client, "accept", {**ACCEPT, "source_code": "BLIND-1", "prediction_id": blind["prediction_id"]}, own
    )
    assert accepted.status_code == 200
    with reading() as session:
        event = session.scalars(select(Event)).one()
    assert event.payload["blind"] is True


def test_the_queue_without_a_model_or_chart(
    client: TestClient, own: dict[str, str], platform: dict[str, str], source: FakeSource, runtime: Runtime
) -> None:
    with transaction() as session:
        at = clock.now()
        session.add(Account(company_id="c-18", system="xero", code="1", name="One", created_at=at))
        session.add(Company(id="c-20", name="No chart", industry="plumbing", created_at=at))
    check_problem(client.get("/v1/mappings?company_id=c-18", headers=platform), 400, "quickbooks, xero")
    check_problem(client.get("/v1/mappings?company_id=c-20", headers=platform), 400, "no chart yet")
    source.labels, source.aliases = {}, {}
    runtime.predictors._aliased = {}
    runtime.predictors.refresh()
    check_problem(client.get("/v1/mappings?suggestions=true", headers=own), 503, "crewflow demo")
    assert client.get("/v1/mappings", headers=own).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "state=done",
        "limit=0",
        "limit=1000",
        "limit=x",
        "kind=wage",
        "system=Q B",
        "stat=all",
        "suggestions=perhaps",
        "after=%00",
        "company_id=%00",
        "company_id=",
    ],
)
def test_wrong_queries(client: TestClient, own: dict[str, str], query: str) -> None:
    problem = check_problem(client.get(f"/v1/mappings?{query}", headers=own), 400)
    assert problem["errors"][0]["loc"] == [query.split("=")[0]]


def test_odd_queries_are_harmless(client: TestClient, own: dict[str, str]) -> None:
    for query in ("after=%ED%A0%80", "after=%FF", "after='%3B--", "after=" + "x" * 100):
        assert client.get(f"/v1/mappings?{query}", headers=own).status_code == 200, query
