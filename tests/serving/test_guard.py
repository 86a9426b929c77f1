"""The guard: keys, limits, request ids, strict JSON, and every error as problem+json."""

import json
import logging
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from crewflow_assets.store import keys
from crewflow_assets.store.database import transaction
from serving.keyring import REMEMBERED_SECONDS, RateLimiter
from serving.observing import gauge
from serving.runtime import Runtime
from tests.serving.conftest import MAPPING_INPUT, bearer, check_problem, new_key

ECHO = "/v1/echo/predict"


def test_open_routes_need_no_key(client: TestClient) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/metrics", "/docs", "/docs.json"):
        assert client.get(path).status_code == 200, path
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic Y2ZrOg=="},
        {"Authorization": "Bearer cfk_wrong"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Bearer cfk_\u00e9\u00ff"},
    ],
)
def test_no_or_wrong_key(client: TestClient, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = client.post(ECHO, json={"text": "hi"}, headers=raw)
    check_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_stops_working_within_seconds(client: TestClient, company: str) -> None:
    token, key_id = new_key(company)
    assert client.post(ECHO, json={"text": "hi"}, headers=bearer(token)).status_code == 200
    with transaction() as session:
        keys.revoke(session, key_id)
    time.sleep(REMEMBERED_SECONDS + 0.1)
    check_problem(client.post(ECHO, json={"text": "hi"}, headers=bearer(token)), 401, "revoked")


def test_every_answer_carries_a_request_id(client: TestClient, own: dict[str, str]) -> None:
    kept = client.post(ECHO, json={"text": "hi"}, headers={**own, "X-Request-Id": "req-1:a.b"})
    assert kept.headers["x-request-id"] == "req-1:a.b"
    made = client.post(ECHO, json={}, headers={**own, "X-Request-Id": "bad id\twith blanks"})
    assert made.headers["x-request-id"].startswith("r-")
    assert made.json()["request_id"] == made.headers["x-request-id"]
    assert client.get("/livez").headers["x-request-id"].startswith("r-")


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  ",
    "cut off": b'{"text": "hi"',
    "not JSON": b"text=hi",
    "NaN": b'{"text": "hi", "number": NaN}',
    "infinity": b'{"text": "hi", "number": -Infinity}',
    "infinity by overflow": b'{"text": "hi", "number": 1e400}',
    "infinity by length": b'{"text": "hi", "number": ' + b"9" * 400 + b".0}",
    "far too long a number": b'{"text": "hi", "number": ' + b"9" * 6000 + b"}",
    "lone surrogate": b'{"text": "\\ud800"}',
    "not UTF-8": b'{"text": "\xff"}',
    "NUL": b'{"text": "a\\u0000b"}',
    "NUL in a name": b'{"te\\u0000xt": "b"}',
    "raw control character": b'{"text": "a\x00b"}',
    "control character": b'{"text": "a\\u0007b"}',
    "too deep": b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep": b'{"text": ' + b"[" * 150 + b"]" * 150 + b"}",
    "array": b'[{"text": "hi"}]',
    "null": b"null",
    "string": b'"hi"',
    "two values": b'{"text": "hi"} {}',
}


@pytest.mark.parametrize("path", [ECHO, "/v1/echo/predict_batch", "/v1/events", "/v1/mappings/accept"])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_bodies_are_refused(client: TestClient, own: dict[str, str], path: str, name: str) -> None:
    answer = client.post(path, content=MALFORMED[name], headers={**own, "Idempotency-Key": "k"})
    check_problem(answer, 400)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "multipart/form-data; boundary=x", "application/vnd.bentoml+pickle", None],
)
def test_the_body_is_json_whatever_its_type_says(
    client: TestClient, own: dict[str, str], content_type: str | None
) -> None:
    headers = own if content_type is None else {**own, "Content-Type": content_type}
    for path, body in ((ECHO, {"text": "hi"}), ("/v1/events", {"events": []})):
        answer = client.post(path, content=json.dumps(body).encode(), headers=headers)
        assert answer.status_code == 200, answer.text
    check_problem(client.post(ECHO, content=b"--x\r\n", headers=headers), 400, "JSON")


def test_encoded_bodies_are_refused(client: TestClient, own: dict[str, str]) -> None:
    check_problem(client.post(ECHO, content=b"\x1f\x8b", headers={**own, "Content-Encoding": "gzip"}), 415, "gzip")


def test_a_large_body_is_refused_before_it_is_read(client: TestClient, own: dict[str, str], setting: Any) -> None:
    setting("max_body_bytes", 2000)
    large = json.dumps({"text": "x" * 3000}).encode()
    check_problem(client.post(ECHO, content=large, headers=own), 413, "2,000 bytes")
    chunks = (large[i : i + 500] for i in range(0, len(large), 500))
    check_problem(client.post(ECHO, content=chunks, headers=own), 413)
    assert client.post(ECHO, json={"text": "x"}, headers=own).status_code == 200


def test_a_key_that_asks_too_often_waits(client: TestClient, own: dict[str, str], setting: Any) -> None:
    setting("requests_per_minute", 3)
    statuses = [client.post(ECHO, json={"text": "hi"}, headers=own).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    answer = client.post(ECHO, json={"text": "hi"}, headers=own)
    check_problem(answer, 429, "3 requests a minute")
    assert 1 <= int(answer.headers["retry-after"]) <= 21
    other = bearer(new_key("c-18")[0])
    assert client.post(ECHO, json={"text": "hi"}, headers=other).status_code == 200


def test_a_keys_own_limit_holds_before_the_setting(
    client: TestClient, company: str, setting: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "limiter", RateLimiter())  # another test's key had the same number
    setting("requests_per_minute", 1)
    with transaction() as session:
        token, _ = keys.create(session, "backend", company, requests_per_minute=2)
    statuses = [client.post(ECHO, json={"text": "hi"}, headers=bearer(token)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    check_problem(client.post(ECHO, json={"text": "hi"}, headers=bearer(token)), 429, "2 requests a minute")


def test_metrics_tell_what_each_version_said(client: TestClient, own: dict[str, str], runtime: Runtime) -> None:
    for code in ("ELEC-105", "ELEC-110", "BLIND-1"):
        body = {**MAPPING_INPUT, "crewflow_cost_code": code}
        assert client.post("/v1/cost_code_mapping/predict", json=body, headers=own).status_code == 200
    assert runtime.log.flush(within_seconds=5)
    gauge(runtime.predictors)
    told = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#"))
    labels = '{model="cost_code_mapping",model_version="1.1",variant="champion"}'
    values = {name: float(told[f"crewflow_{name}{labels}"]) for name in ("automatic_total", "withheld_total")}
    assert values["automatic_total"] >= 2
    assert values["withheld_total"] >= 1
    assert float(told[f"crewflow_said_probability_count{labels}"]) >= 3
    assert float(told[f"crewflow_prediction_latency_seconds_count{labels}"]) >= 3
    assert float(told['crewflow_served_version{asked_as="champion",model="echo"}']) == 2
    assert float(told['crewflow_registry_away{model="echo"}']) == 0
    assert float(told['crewflow_outbox_commands{state="pending"}']) == 0


def test_unknown_routes_and_methods(client: TestClient, own: dict[str, str]) -> None:
    check_problem(client.get("/v1/nothing", headers=own), 404, "GET /v1/nothing")
    check_problem(client.post("/nothing", headers=own), 404)
    check_problem(client.get("/v1/models/", headers=own), 404)
    wrong = client.get(ECHO, headers=own)
    check_problem(wrong, 405, "POST")
    assert "POST" in wrong.headers["allow"]
    check_problem(client.delete("/v1/models", headers=own), 405)
    check_problem(client.put("/v1/events", headers=own), 405)
    check_problem(client.put("/readyz"), 405)
    check_problem(client.get("/v1/models"), 401)


def test_a_broken_model_tells_nothing_but_its_request_id(
    client: TestClient, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post(ECHO, json={"text": "broken"}, headers=own)
    body = check_problem(answer, 500, "request")
    assert "ZeroDivision" not in answer.text
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "the model broke" in caplog.text


def test_metrics_name_routes_and_never_paths(client: TestClient, own: dict[str, str]) -> None:
    client.post(ECHO, json={"text": "hi"}, headers=own)
    for i in range(5):
        client.get(f"/v1/customers/secret-{i}", headers=own)
    check_problem(client.post(ECHO, content=b"{", headers=own), 400)
    told = client.get("/metrics").text
    assert 'endpoint="/v1/echo/predict"' in told
    assert 'crewflow_predictions_total{model="echo",model_version="1.1",variant="champion"}' in told
    assert 'crewflow_refused_total{status="400"}' in told
    assert "secret" not in told
    assert "/unmatched" in told


def test_the_access_log_holds_no_personal_data(
    client: TestClient, own: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="crewflow.access"):
        client.post(ECHO, json={"text": "Jane Doe"}, headers={**own, "X-Request-Id": "req-7"})
        client.get("/v1/mappings?after=Jane", headers=own)
        client.get("/livez")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "crewflow.access"]
    assert [(line["route"], line["status"]) for line in lines] == [(ECHO, 200), ("/v1/mappings", 200)]
    assert lines[0]["request_id"] == "req-7"
    assert set(lines[0]) == {"at", "request_id", "method", "route", "status", "ms", "bytes", "key"}
    assert "Jane" not in caplog.text
