"""Every route, fuzzed from its own OpenAPI document: no 500, and every answer is one that the document promises."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks
from starlette.testclient import TestClient

from serving.openapi import openapi_document
from serving.resources import resource_app
from serving.runtime import Runtime
from tests.serving.conftest import SOURCE, served_specs

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))
"""For each route and mode. More take longer: docs/http-api.md has the long form."""
TRIED = settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def document() -> dict[str, Any]:
    runtime = Runtime(served_specs(), SOURCE)
    return openapi_document(runtime.specs, resource_app(runtime).routes)


SCHEMA = schemathesis.openapi.from_dict(document())
OPERATIONS: dict[str, Any] = {
    result.ok().label: result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)
}


def test_every_route_is_tried(client: TestClient) -> None:
    served = client.get("/docs.json").json()["paths"]
    assert sorted(OPERATIONS) == sorted(f"{method.upper()} {path}" for path, ms in served.items() for method in ms)


def modes(operation: Any) -> list[GenerationMode]:
    """Return what can be generated: where nothing can be sent, nothing wrong can be."""
    sent = any(operation.iter_parameters()) or operation.body
    return list(GenerationMode) if sent else [GenerationMode.POSITIVE]


@pytest.mark.parametrize(
    ("label", "mode"),
    [(label, mode) for label, operation in OPERATIONS.items() for mode in modes(operation)],
    ids=lambda value: getattr(value, "value", value),
)
def test_every_answer_is_as_documented(
    client: TestClient, own: dict[str, str], platform: dict[str, str], label: str, mode: GenerationMode
) -> None:
    @given(case=OPERATIONS[label].as_strategy(mode), key=st.sampled_from([own, platform]))
    @TRIED
    def tried(case: Any, key: dict[str, str]) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver", headers=key)
        sent.pop("cookies", None)  # none of our routes reads any
        if isinstance(sent.get("data"), bytes | str):
            sent["content"] = sent.pop("data")
        answer = client.request(follow_redirects=False, **sent)
        case.validate_response(answer, checks=CHECKS)

    tried()
