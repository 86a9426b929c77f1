"""No input of any kind gets a 500, and every refusal is a problem."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.routes.events import EXAMPLE
from tests.serving.conftest import MAPPING_INPUT

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(
        ["\0", "\x1b", "�", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "champion", "1.0"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
DECISION = {"system": "quickbooks", "source_code": "ELEC-105", "target_code": "50100", "decided_by": "u-1"}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/echo/predict": {"text": "hi", "number": 1.0, "version": "champion", "company_id": "c-17"},
    "/v1/echo/predict_batch": {"inputs": [{"text": "hi"}]},
    "/v1/cost_code_mapping/predict": {**MAPPING_INPUT, "top_k": 3, "kind": "project", "company_id": "c-17"},
    "/v1/cost_code_mapping/predict_batch": {"inputs": [MAPPING_INPUT]},
    "/v1/mappings/accept": {**DECISION, "prediction_id": "p-1", "automatic": True},
    "/v1/mappings/correct": {**DECISION, "kind": "cost_code"},
    "/v1/mappings/undo": {"decision_id": "d-1", "decided_by": "u-1"},
    "/v1/integrations/i-3/actions/act-1/undo": {"decided_by": "u-1"},
    "/v1/events": {"events": [EXAMPLE]},
}
TRIED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def check(answer: Any) -> None:
    assert answer.status_code in {200, 400, 403, 404, 409}, answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with something within it replaced, removed or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        copy = dict(value)
        name = draw(st.sampled_from(sorted(copy)))
        match draw(st.integers(0, 5)):
            case 0:
                del copy[name]
            case 1:
                copy[draw(st.text(max_size=10))] = draw(ANY_JSON)
            case _:
                copy[name] = draw(mutated(copy[name]))
        return copy
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        return [draw(mutated(value[0])), *value[1:]]
    return draw(ANY_JSON)


@pytest.mark.parametrize("path", ROUTES)
@given(data=st.data())
@TRIED
def test_mutated_bodies(client: TestClient, own: dict[str, str], path: str, data: st.DataObject) -> None:
    body = data.draw(mutated(ROUTES[path]))
    headers = {**own, "Idempotency-Key": data.draw(st.text("abc", min_size=1, max_size=9))}
    check(client.post(path, content=json.dumps(body).encode(), headers=headers))


@given(path=st.sampled_from(sorted(ROUTES)), body=st.binary(max_size=200))
@TRIED
def test_arbitrary_bytes(client: TestClient, own: dict[str, str], path: str, body: bytes) -> None:
    check(client.post(path, content=body, headers={**own, "Idempotency-Key": "k"}))


@given(
    name=st.sampled_from(["company_id", "system", "kind", "state", "limit", "after", "x"]), value=st.text(max_size=40)
)
@TRIED
def test_arbitrary_queries(client: TestClient, own: dict[str, str], name: str, value: str) -> None:
    check(client.get("/v1/mappings", params={name: value}, headers=own))
