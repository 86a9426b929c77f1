"""One OpenAPI 3.1 document of all routes, predictions and BentoML's own included, with examples."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse
from starlette.routing import BaseRoute

from crewflow_assets.spec import ModelSpec
from serving.batches import batch_types
from serving.problems import MEDIA_TYPE, TITLES, ProblemBody

VERSION = "1"
DESCRIPTION = (
    "The machine-learning side of CrewFlow's accounting integrations. Every request carries "
    "`Authorization: Bearer <key>`; a key belongs to one company or to the platform. Unknown fields are refused. "
    "Every error is `application/problem+json`."
)
OPEN = ("/livez", "/readyz", "/metrics", "/docs", "/docs.json")
ALWAYS = (400, 401, 403, 404, 408, 413, 415, 429, 503)
GETS = (400, 401, 403, 404, 429, 503)
DEPTH = 8


def openapi_document(specs: Iterable[ModelSpec], routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Build the document for the models and the resource routes of a service."""
    stubs = APIRouter()
    for spec in specs:
        _add_predictions(stubs, spec)
    _add_system_routes(stubs)
    document = get_openapi(
        title="CrewFlow ML",
        version=VERSION,
        description=DESCRIPTION,
        routes=[*stubs.routes, *routes],
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for leftover in ("HTTPValidationError", "ValidationError"):
        schemas.pop(leftover, None)
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    document["paths"] = dict(sorted(document["paths"].items(), key=_place))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, path, method, schemas)
    _simplify(document)
    return document


def example_from(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """Build an example value from a JSON schema: given examples first, then defaults, then the smallest value."""
    if "$ref" in schema:
        return example_from(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, depth + 1)
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_from(schema[key][0], schemas, depth)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            wanted = {name: part for name, part in properties.items() if _wanted(part)}
            return {name: example_from(part, schemas, depth + 1) for name, part in wanted.items()}
        case "array" if "items" in schema:
            return [example_from(schema["items"], schemas, depth + 1)] if depth < DEPTH else []
        case "string":
            return "…"
        case "boolean":
            return False
        case "number" | "integer":
            return schema.get("minimum", 0)
    return None


def _simplify(part: Any) -> None:
    """Write a tuple of equal parts as a list of that length: many readers of OpenAPI know no ``prefixItems``."""
    if isinstance(part, dict):
        parts = part.get("prefixItems")
        if isinstance(parts, list) and all(one == parts[0] for one in parts):
            part["items"] = part.pop("prefixItems")[0]
        for member in part.values():
            _simplify(member)
    elif isinstance(part, list):
        for member in part:
            _simplify(member)


def _place(item: tuple[str, dict[str, Any]]) -> int:
    """Order paths by what they are about: predictions first, what runs the server last."""
    tag = next(iter(item[1].values()))["tags"][0]
    return {"predictions": 0, "operations": 2, "documentation": 3}.get(tag, 1)


def _wanted(part: dict[str, Any]) -> bool:
    """Leave optional fields without an example of their own out."""
    return part.get("default", ...) is not None or bool(part.get("examples"))


def _add_predictions(stubs: APIRouter, spec: ModelSpec) -> None:
    request_type: Any = spec.request_type
    batch_type: Any
    batch_type, batch_answer_type = batch_types(spec)
    example = dict(spec.example)

    def predict(body: Annotated[request_type, Body(examples=[example])]) -> None: ...

    def predict_batch(body: Annotated[batch_type, Body(examples=[{"inputs": [example]}])]) -> None: ...

    for function, verb, answer, summary in (
        (predict, "predict", spec.response_type, spec.question),
        (predict_batch, "predict_batch", batch_answer_type, f"{spec.question} Up to 1,000 inputs at once."),
    ):
        stubs.add_api_route(
            f"/v1/{spec.name}/{verb}",
            function,
            methods=["POST"],
            response_model=answer,
            summary=summary,
            operation_id=f"{spec.name}_{verb}",
            tags=["predictions"],
        )


def _add_system_routes(stubs: APIRouter) -> None:
    def nothing() -> None: ...

    for path, summary in (
        ("/livez", "Whether the process lives"),
        ("/readyz", "Whether the process takes requests"),
        ("/metrics", "Prometheus metrics"),
    ):
        stubs.add_api_route(
            path,
            nothing,
            methods=["GET"],
            summary=summary,
            operation_id=path.strip("/"),
            tags=["operations"],
            response_class=PlainTextResponse,
        )


def _complete(operation: dict[str, Any], path: str, method: str, schemas: dict[str, Any]) -> None:
    """Add the problems that every route may answer, and an example of each body and answer."""
    responses = operation["responses"]
    responses.pop("422", None)
    if path in OPEN:
        operation["security"] = []
        return
    decides = any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", ()))
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "Idempotency-Key":
            parameter["required"] = True
            parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 200}
    conflicts = (409,) if decides or path == "/v1/events" else ()
    for status in sorted({*(ALWAYS if method == "post" else GETS), *conflicts}):
        responses[str(status)] = {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    contents = [operation.get("requestBody", {}), responses["200"]]
    for holder in contents:
        for content in holder.get("content", {}).values():
            if not content.get("schema"):
                continue
            given = content["schema"].pop("examples", None)
            content["example"] = given[0] if given else example_from(content["schema"], schemas)
