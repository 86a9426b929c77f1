"""Batch requests and answers, made from the single ones of each model."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, create_model

from crewflow_assets.contract import Contract, PredictionRequest, PredictionResponse
from crewflow_assets.spec import ModelSpec

MOST_INPUTS = 1000


class Batch(Contract):
    """Base of the batch request that ``batch_types`` makes for each model."""

    @property
    def requests(self) -> Sequence[PredictionRequest]:
        """The inputs, whatever the model."""
        inputs: Sequence[PredictionRequest] = self.inputs  # type: ignore[attr-defined]
        return inputs


def batch_types(spec: ModelSpec) -> tuple[type[Batch], type[Contract]]:
    """Make a model's batch request and batch answer from its single ones."""
    request: Any = spec.request_type
    response: Any = spec.response_type
    inputs = create_model(
        f"{request.__name__}Batch",
        __base__=Batch,
        __doc__=f"Up to {MOST_INPUTS:,} inputs of {spec.name}, answered in order.",
        inputs=(Annotated[list[request], Field(max_length=MOST_INPUTS, examples=[[dict(spec.example)]])], ...),
    )
    predictions = create_model(
        f"{response.__name__}Batch",
        __base__=Contract,
        __doc__="One prediction for each input, in the same order.",
        predictions=(list[response], ...),
    )
    return inputs, predictions


def batch_answer(responses: Sequence[PredictionResponse]) -> dict[str, Any]:
    """Return the batch answer of responses that were validated one by one, for ``pydantic_core.to_json``."""
    return {"predictions": list(responses)}
