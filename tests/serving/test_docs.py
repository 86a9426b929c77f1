"""The documentation: one valid OpenAPI document, examples that work, a page without anything from elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from crewflow_assets.contract import Contract
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.spec import ModelSpec
from serving.openapi import example_from
from serving.problems import ProblemBody
from serving.resources import resource_app
from serving.runtime import Runtime
from tests.serving.conftest import SOURCE, check_problem

PAIRED = ("_updated_at", "_updated_by", "_version")
"""Ends of the names of fields that there are two of, for ``crewflow`` and ``external``."""
HTTP_API = Path(__file__).parents[2] / "docs" / "http-api.md"


@pytest.fixture(scope="module")
def gateway_document() -> dict[str, Any]:
    """The document of the gateway with the real models."""
    answer = TestClient(resource_app(Runtime(MODEL_SPECS, SOURCE))).get("/docs.json")
    document: dict[str, Any] = answer.json()
    return document


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(m.upper(), path, o) for path, methods in document["paths"].items() for m, o in methods.items()]


def test_the_document_is_openapi_of_all_routes(gateway_document: dict[str, Any]) -> None:
    assert gateway_document["openapi"].startswith("3.1")
    listed = {f"{method} {path}" for method, path, _ in operations(gateway_document)}
    assert listed >= {
        "POST /v1/cost_code_mapping/predict",
        "POST /v1/cost_code_mapping/predict_batch",
        "GET /v1/models",
        "GET /v1/mappings",
        "POST /v1/mappings/accept",
        "POST /v1/mappings/correct",
        "POST /v1/mappings/undo",
        "POST /v1/events",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /docs",
        "GET /docs.json",
    }
    assert len({o["operationId"] for _, _, o in operations(gateway_document)}) == len(listed)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(gateway_document)))
    assert references <= set(gateway_document["components"]["schemas"])
    assert "/home/" not in json.dumps(gateway_document)


def test_every_route_tells_its_problems_and_examples(gateway_document: dict[str, Any]) -> None:
    for method, path, operation in operations(gateway_document):
        if not path.startswith("/v1/"):
            assert operation["security"] == []
            continue
        for status in ("401", "403", "429", "503"):
            assert "application/problem+json" in operation["responses"][status]["content"], (method, path)
        assert "422" not in operation["responses"]
        assert operation["responses"]["200"]["content"]["application/json"]["example"], (method, path)
        if method == "POST":
            assert operation["requestBody"]["content"]["application/json"]["example"], (method, path)
    keyed = gateway_document["paths"]["/v1/mappings/accept"]["post"]
    assert [p["required"] for p in keyed["parameters"] if p["name"] == "Idempotency-Key"] == [True]
    assert "409" in keyed["responses"]


def test_the_prediction_examples_are_valid(gateway_document: dict[str, Any]) -> None:
    for spec in MODEL_SPECS:
        for verb in ("predict", "predict_batch"):
            operation = gateway_document["paths"][f"/v1/{spec.name}/{verb}"]["post"]
            example = operation["requestBody"]["content"]["application/json"]["example"]
            for one in [example] if verb == "predict" else example["inputs"]:
                spec.request_type.model_validate(one)
            answer = operation["responses"]["200"]["content"]["application/json"]["example"]
            for one in [answer] if verb == "predict" else answer["predictions"]:
                spec.response_type.model_validate(one)


def test_the_examples_are_answered_as_documented(
    client: TestClient, own: dict[str, str], platform: dict[str, str]
) -> None:
    document = client.get("/docs.json").json()
    for method, path, operation in operations(document):
        if method == "POST" and "undo" not in path and "{" not in path:
            body = operation["requestBody"]["content"]["application/json"]["example"]
            key = platform if "experiments" in operation["tags"] else own
            answer = client.post(path, json=body, headers={**key, "Idempotency-Key": path})
            assert answer.status_code in {200, 409}, (path, answer.text)
    problem = check_problem(client.post("/v1/events", json={"a": 1}, headers=own), 400)
    ProblemBody.model_validate(problem)


def test_the_page_is_complete_and_alone(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for method, path, _ in operations(client.get("/docs.json").json()):
        anchor = re.sub(r"[{}]", "", path.replace("/", "-"))
        assert f'id="{method.lower()}{anchor}"' in answer.text
        for name in re.findall(r"{(\w+)}", path) if method == "POST" else ():
            assert f'<input name="{name}"' in answer.text, "what stands for a part of the path can be typed in"
    assert not re.search(r"(src|href)=\"?(https?:)?//", answer.text)


def test_every_route_has_its_heading(gateway_document: dict[str, Any]) -> None:
    headings = re.findall(r"^### (\w+ /\S*)", HTTP_API.read_text(encoding="utf-8"), re.MULTILINE)
    listed = [f"{method} {path}" for method, path, _ in operations(gateway_document)]
    assert [route for route in listed if route not in headings] == []
    live = re.findall(r"^### (\w+ /\S*)$", HTTP_API.read_text(encoding="utf-8"), re.MULTILINE)
    assert [route for route in live if route not in listed] == [], "a route that does not exist is marked (planned)"
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize(("kind", "payload"), PAYLOADS.items())
def test_every_field_of_an_event_is_named(kind: str, payload: type[Contract]) -> None:
    [row] = re.findall(rf"^\| `{kind}` \|.*$", HTTP_API.read_text(), re.MULTILINE)
    by_pair = "".join(re.findall(r"`…(_\w+)`", row))  # of both sides
    fields = {name for name in payload.model_fields if not by_pair or not name.endswith(PAIRED)}
    assert {name for name in fields if not re.search(rf"\b{name}\b", row)} == set()


def test_the_json_examples_of_the_page_are_json() -> None:
    blocks = re.findall(r"```json\n(.*?)```", HTTP_API.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        json.loads(block)


def test_every_status_of_the_problems_is_documented() -> None:
    from serving.problems import TITLES

    text = HTTP_API.read_text(encoding="utf-8")
    for status, title in TITLES.items():
        if status != 500:
            assert f"| {status} | {title} |" in text


def test_examples_are_built_from_schemas() -> None:
    schemas = {"Thing": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 2}}}}
    whole = {
        "type": "object",
        "properties": {
            "things": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
            "kind": {"enum": ["a", "b"]},
            "said": {"type": "string", "examples": ["hi"]},
            "none": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
    }
    assert example_from(whole, schemas) == {"things": [{"size": 2}], "kind": "a", "said": "hi"}


def test_a_service_of_one_model_has_that_models_routes(echo_spec: ModelSpec, sqlite_store: Engine) -> None:
    document = TestClient(resource_app(Runtime([echo_spec], SOURCE))).get("/docs.json").json()
    assert "/v1/echo/predict" in document["paths"]
    assert "/v1/mappings" not in document["paths"]
    assert "/v1/models" in document["paths"]
