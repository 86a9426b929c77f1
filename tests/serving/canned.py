"""Every model of the platform with its own contract and a canned answer, for tests of what stands around models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from crewflow_assets.spec import Answer, ModelCode, ModelSpec
from serving.openapi import example_from
from tests.serving.fakes import FakeCode

PLATFORM_FIELDS = ("prediction_id", "model_version", "variant")


def canned(spec: ModelSpec) -> ModelSpec:
    """Return the spec with code that gives its contract's example answer, whatever it is asked."""
    schema = TypeAdapter(spec.response_type).json_schema(ref_template="#/components/schemas/{model}")
    example = example_from(schema, schema.get("$defs", {}))
    fields: dict[str, Any] = {name: value for name, value in example.items() if name not in PLATFORM_FIELDS}

    class Code(FakeCode):
        def answer(self, predictor: Any, requests: Sequence[Any]) -> list[Answer]:  # noqa: ARG002
            return [Answer(dict(fields)) for _ in requests]

    def code() -> ModelCode:
        return Code()

    return replace(spec, code=code)
