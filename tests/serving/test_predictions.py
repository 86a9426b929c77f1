"""Prediction routes: versions, batches, company scope, what is missing, and what is logged."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Prediction
from serving import gathering, keyring, predictions, service
from serving.runtime import Runtime
from tests.serving.conftest import MAPPING_INPUT, bearer, check_problem, new_key
from tests.serving.fakes import REGISTER, EchoRequest, FakeSource

ONE = "/v1/echo/predict"
BATCH = "/v1/echo/predict_batch"
MAPPING = "/v1/cost_code_mapping/predict"


def rows(runtime: Runtime) -> list[Prediction]:
    assert runtime.log.flush(within_seconds=5)
    with reading() as session:
        return list(session.scalars(select(Prediction).order_by(Prediction.created_at)))


def test_a_prediction_names_its_version_and_variant(client: TestClient, own: dict[str, str]) -> None:
    expected = {"champion": ("1.1", "champion"), "challenger": ("1.2", "challenger"), "1.0": ("1.0", "pinned")}
    for version, (label, variant) in expected.items():
        answer = client.post(ONE, json={"text": "hi", "version": version}, headers=own)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["model_version"], body["variant"], body["said"]) == (label, variant, "hi")
        assert body["prediction_id"].startswith("p-")


def test_the_pinned_champion_is_pinned(client: TestClient, own: dict[str, str], source: FakeSource) -> None:
    loads = source.loads
    body = client.post(ONE, json={"text": "hi", "version": "1.1"}, headers=own).json()
    assert body["variant"] == "pinned"
    assert source.loads == loads, "the version in memory is used"


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ({}, ["text"]),
        ({"text": ""}, ["text"]),
        ({"text": 5}, ["text"]),
        ({"text": None}, ["text"]),
        ({"text": "x" * 301}, ["text"]),
        ({"text": "hi", "numbr": 1}, ["numbr"]),
        ({"text": "hi", "number": "many"}, ["number"]),
        ({"text": "hi", "number": -1, "more": {}}, ["number", "more"]),
        ({"text": "hi", "number": 10**400}, ["number"]),
        ({"text": "hi", "version": "latest"}, ["version"]),
        ({"text": "hi", "version": "1.0\n"}, ["version"]),
        ({"text": "hi", "company_id": ""}, ["company_id"]),
        ({"text": "hi", "company_id": "c\x01"}, ["company_id"]),
    ],
)
def test_wrong_fields_are_named(
    client: TestClient, own: dict[str, str], body: dict[str, Any], bad: list[str]
) -> None:
    problem = check_problem(client.post(ONE, json=body, headers=own), 400)
    assert {error["loc"][0] for error in problem["errors"]} == set(bad)
    assert all(error["msg"] for error in problem["errors"])
    assert "x" * 301 not in str(problem)


def test_unknown_versions_and_models(client: TestClient, own: dict[str, str], source: FakeSource) -> None:
    problem = check_problem(client.post(ONE, json={"text": "hi", "version": "9.9"}, headers=own), 404, "9.9")
    assert problem["errors"][0]["loc"] == ["version"]
    loads = source.loads
    check_problem(client.post(ONE, json={"text": "hi", "version": "9.9"}, headers=own), 404, "9.9")
    assert source.loads == loads, "a version that is unknown is not asked for at each request"
    batch = {"inputs": [{"text": "a"}, {"text": "b", "version": "9.9"}]}
    problem = check_problem(client.post(BATCH, json=batch, headers=own), 404)
    assert problem["errors"][0]["loc"] == ["inputs", 1, "version"]
    check_problem(client.post("/v1/weather/predict", json={}, headers=own), 404, "weather", "echo, cost_code_mapping")
    check_problem(client.post("/v1/weather/predict_batch", json={}, headers=own), 404, "weather")


def test_no_model_registered(client: TestClient, own: dict[str, str], source: FakeSource, runtime: Runtime) -> None:
    source.labels, source.aliases = {}, {}
    runtime.predictors._aliased = {}
    runtime.predictors.refresh()
    asked: dict[str, dict[str, Any]] = {
        ONE: {"text": "hi"},
        BATCH: {"inputs": [{"text": "hi"}]},
        MAPPING: MAPPING_INPUT,
    }
    for path, body in asked.items():
        answer = client.post(path, json=body, headers=own)
        check_problem(answer, 503, "crewflow demo")
        assert int(answer.headers["retry-after"]) > 0
    state = client.get("/v1/models", headers=own).json()["models"][0]
    assert (state["ready"], state["problem"], state["loaded"]) == (False, REGISTER, [])
    source.labels, source.aliases = {1: "1.0"}, {"champion": 1}
    runtime.predictors.refresh()
    assert client.post(ONE, json={"text": "hi"}, headers=own).json()["model_version"] == "1.0"
    check_problem(client.post(ONE, json={"text": "hi", "version": "challenger"}, headers=own), 404, "challenger")


def test_a_promotion_is_followed_and_a_broken_registry_survived(
    client: TestClient, own: dict[str, str], source: FakeSource, runtime: Runtime
) -> None:
    def version() -> str:
        return str(client.post(ONE, json={"text": "hi"}, headers=own).json()["model_version"])

    assert version() == "1.1"
    source.aliases = {"champion": 3}
    assert runtime.predictors.refresh()
    assert not runtime.predictors.refresh()
    assert version() == "1.2"
    source.broken = True
    assert not runtime.predictors.refresh()
    assert version() == "1.2"
    models = client.get("/v1/models", headers=own).json()["models"]
    assert models[0]["ready"]
    assert models[0]["versions"] is None
    assert "cannot be read" in models[0]["problem"]
    check_problem(client.post(ONE, json={"text": "hi", "version": "7.7"}, headers=own), 503)
    source.broken, source.aliases = False, {"champion": 2, "challenger": 3}
    runtime.predictors.refresh()
    assert version() == "1.1"


def test_models(client: TestClient, own: dict[str, str]) -> None:
    models = client.get("/v1/models", headers=own).json()["models"]
    assert [model["name"] for model in models] == ["echo", "cost_code_mapping", *(s.name for s in MODEL_SPECS[1:])]
    assert (models[0]["source"], models[0]["source_at"]) == ("registry", "2026-03-02T00:00:00Z")
    assert models[0]["loaded"][:2] == [
        {"version": "1.1", "asked_as": "champion"},
        {"version": "1.2", "asked_as": "challenger"},
    ]
    assert [(v["version"], v["aliases"]) for v in models[0]["versions"]] == [
        ("1.2", ["challenger"]),
        ("1.1", ["champion"]),
        ("1.0", []),
    ]


def test_a_batch_is_answered_in_order(client: TestClient, own: dict[str, str]) -> None:
    inputs = [{"text": f"t{i}", "version": ("champion", "challenger", "1.0")[i % 3]} for i in range(1000)]
    answer = client.post(BATCH, json={"inputs": inputs}, headers=own)
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert [p["said"] for p in predictions] == [f"t{i}" for i in range(1000)]
    assert [p["model_version"] for p in predictions[:3]] == ["1.1", "1.2", "1.0"]
    assert len({p["prediction_id"] for p in predictions}) == 1000


def test_odd_batches(client: TestClient, own: dict[str, str]) -> None:
    assert client.post(BATCH, json={"inputs": []}, headers=own).json() == {"predictions": []}
    too_many = {"inputs": [{"text": "a"}] * 1001}
    check_problem(client.post(BATCH, json=too_many, headers=own), 400, "inputs", "1000")
    odd: list[dict[str, Any]] = [{}, {"inputs": None}, {"inputs": {}}, {"inputs": ["a"]}, {"inputs": [], "more": 1}]
    for body in odd:
        check_problem(client.post(BATCH, json=body, headers=own), 400)


def test_a_batch_with_bad_inputs_names_them_and_answers_none(
    client: TestClient, own: dict[str, str], runtime: Runtime
) -> None:
    wrong = {"inputs": [{"text": "a"}, {"txt": "b"}, {"text": "c", "number": -1}]}
    problem = check_problem(client.post(BATCH, json=wrong, headers=own), 400)
    assert [error["loc"] for error in problem["errors"]] == [
        ["inputs", 1, "text"],
        ["inputs", 1, "txt"],
        ["inputs", 2, "number"],
    ]
    impossible = {
        "inputs": [{"text": "a"}, {"text": "b", "version": "1.0"}, {"text": "impossible", "version": "1.0"}]
    }
    problem = check_problem(client.post(BATCH, json=impossible, headers=own), 400, "impossible")
    assert [error["loc"] for error in problem["errors"]] == [["inputs", 2, "text"]]
    problem = check_problem(client.post(ONE, json={"text": "impossible"}, headers=own), 400)
    assert [error["loc"] for error in problem["errors"]] == [["text"]]
    assert rows(runtime) == []


def test_very_many_errors_are_cut(client: TestClient, own: dict[str, str]) -> None:
    problem = check_problem(
        client.post(BATCH, json={"inputs": [{"txt": "a"}] * 1000}, headers=own), 400, "2000 errors"
    )
    assert len(problem["errors"]) == 100


def test_whose_data(client: TestClient, own: dict[str, str], platform: dict[str, str]) -> None:
    def asked(headers: dict[str, str], **more: object) -> Any:
        return client.post(ONE, json={"text": "hi", **more}, headers=headers)

    assert asked(own).json()["company"] == "c-17"
    assert asked(own, company_id="c-17").json()["company"] == "c-17"
    assert asked(platform).json()["company"] is None
    assert asked(platform, company_id="c-18").json()["company"] == "c-18"
    problem = check_problem(asked(own, company_id="c-18"), 403, "c-17")
    assert problem["errors"][0]["loc"] == ["company_id"]
    batch = {"inputs": [{"text": "a"}, {"text": "b", "company_id": "c-18"}, {"text": "c", "company_id": "c-19"}]}
    problem = check_problem(client.post(BATCH, json=batch, headers=own), 403)
    assert [error["loc"] for error in problem["errors"]] == [["inputs", 1, "company_id"], ["inputs", 2, "company_id"]]
    assert client.post(BATCH, json=batch, headers=platform).status_code == 200


def test_a_mapping_without_candidates(client: TestClient, own: dict[str, str], platform: dict[str, str]) -> None:
    assert client.post(MAPPING, json=MAPPING_INPUT, headers=platform).status_code == 200
    bare = {name: value for name, value in MAPPING_INPUT.items() if name != "target_accounts"}
    assert client.post(MAPPING, json=bare, headers=own).status_code == 200
    problem = check_problem(client.post(MAPPING, json=bare, headers=platform), 400)
    assert problem["errors"][0]["loc"] == ["target_accounts"]
    bad = {**MAPPING_INPUT, "target_accounts": [{"code": "1", "name": "a"}, {"code": 2}]}
    problem = check_problem(client.post(MAPPING, json=bad, headers=own), 400)
    assert [e["loc"] for e in problem["errors"]] == [["target_accounts", 1, "code"], ["target_accounts", 1, "name"]]


def test_every_prediction_is_logged(client: TestClient, own: dict[str, str], runtime: Runtime) -> None:
    accounts = [{"code": str(i), "name": f"Account {i}"} for i in range(500)]
    body = {**MAPPING_INPUT, "crewflow_cost_code": "BLIND-1", "target_accounts": accounts}
    answer = client.post(MAPPING, json=body, headers=own).json()
    logged = {row.id: row for row in rows(runtime)}[answer["prediction_id"]]
    assert (logged.model, logged.model_version, logged.variant) == ("cost_code_mapping", "1.1", "champion")
    assert (logged.company_id, logged.withheld, logged.propensity) == ("c-17", True, 0.05)
    assert logged.inputs["cost_code_name"] == "Rough Electrical"
    assert logged.inputs["target_accounts"]["count"] == 500
    assert len(logged.inputs["target_accounts"]["sha256"]) == 64
    assert logged.output["suggestions"] == answer["suggestions"]
    assert logged.latency_ms > 0
    assert answer["withheld"] is True
    client.post(MAPPING, json=MAPPING_INPUT, headers=own)
    assert rows(runtime)[-1].inputs["target_accounts"] == MAPPING_INPUT["target_accounts"]


def test_requests_answered_together_are_logged_with_what_each_took(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "perf_counter", lambda: 100.0)
    requests = [EchoRequest(text=text, company_id="c-17") for text in ("a", "b", "c")]
    answers = runtime.predictions["echo"].singly(requests, [99.5, 98.0, 99.75])
    latencies = {row.id: row.latency_ms for row in rows(runtime)}
    assert [latencies[answer.prediction_id] for answer in answers] == [500, 2000, 250]


def test_latency_counts_from_the_arrival(
    client: TestClient,
    own: dict[str, str],
    platform: dict[str, str],
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gathering, "perf_counter", lambda: 98.0)
    monkeypatch.setattr(service, "perf_counter", lambda: 97.0)
    monkeypatch.setattr(predictions, "perf_counter", lambda: 100.0)
    for headers in (own, platform):  # may be gathered, and may not
        assert client.post(ONE, json={"text": "single"}, headers=headers).status_code == 200
    batch = {"inputs": [{"text": "a"}, {"text": "b", "version": "1.0"}, {"text": "c"}]}
    assert client.post(BATCH, json=batch, headers=own).status_code == 200
    latencies = sorted((str(row.inputs["text"]), row.latency_ms) for row in rows(runtime))
    assert latencies == [("a", 3000), ("b", 3000), ("c", 3000), ("single", 2000), ("single", 2000)]


def test_a_database_that_is_away_is_a_503(
    client: TestClient, own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise OperationalError("select", {}, OSError("secret host away"))

    monkeypatch.setattr(keyring, "reading", away)
    fresh = bearer(new_key("c-17")[0])
    answer = client.post(ONE, json={"text": "hi"}, headers=fresh)
    check_problem(answer, 503, "database", "may or may not have been carried out", "Idempotency-Key")
    assert "secret" not in answer.text
