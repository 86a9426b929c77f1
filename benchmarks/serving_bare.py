"""A peer of the serving benchmark: the champion behind a bare FastAPI route, without keys, log or error handling.

`CREWFLOW_BENCHMARK_MODEL=cost_code_mapping uvicorn benchmarks.serving_bare:app`
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI

from crewflow_assets import registry
from crewflow_assets.contract import Contract
from crewflow_assets.models import spec_named

THREADS = 4

SPEC = spec_named(os.environ.get("CREWFLOW_BENCHMARK_MODEL", "cost_code_mapping"))
Request: Any = SPEC.request_type
state: dict[str, Any] = {}


class Inputs(Contract):
    """A batch."""

    inputs: list[Request]


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    state["code"] = SPEC.code()
    state["predictor"] = registry.load(SPEC, "champion").predictor
    state["threads"] = CapacityLimiter(THREADS)
    yield


app = FastAPI(lifespan=_lifespan)


async def _answered(requests: list[Any]) -> list[dict[str, Any]]:
    answers = await to_thread.run_sync(
        lambda: state["code"].answer(state["predictor"], requests), limiter=state["threads"]
    )
    return [answer.fields for answer in answers]


@app.get("/ready")
async def ready() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"model": SPEC.name}


@app.post("/predict")
async def predict(body: Request) -> dict[str, Any]:
    """Answer one input."""
    return (await _answered([body]))[0]


@app.post("/predict_batch")
async def predict_batch(body: Inputs) -> dict[str, list[dict[str, Any]]]:
    """Answer a batch."""
    return {"predictions": await _answered(body.inputs)}
