"""A peer of the serving benchmark: mapping as the requirements sketch it, BERT in torch and a linear head of 500.

Tuned: fast tokenizer, inference mode, one torch thread a request and, unless the environment says otherwise, as many
requests at once as there are cores. The checkpoint is the one that the product uses; or BERT is as large as
`bert-base-uncased`, which the requirements name, with random weights like the head, since only its speed is asked.
`uvicorn benchmarks.serving_design:app`
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI

from crewflow_assets.cost_code_mapping.contract import MappingRequest
from crewflow_assets.encoder import LONGEST, checkpoint

HEAD = 500
AT_ONCE, BASE_SIZE = "CREWFLOW_BENCHMARK_AT_ONCE", "CREWFLOW_BENCHMARK_BASE_SIZE"
"""Environment: how many requests are answered at once, and, if set, that BERT is of the size of its base model."""

state: dict[str, Any] = {}


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    import torch
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    state["tokenizer"] = AutoTokenizer.from_pretrained(checkpoint(), use_fast=True)
    if os.environ.get(BASE_SIZE):
        state["bert"] = BertModel(BertConfig()).eval()  # type: ignore[no-untyped-call]  # the size of bert-base-uncased
    else:
        state["bert"] = AutoModel.from_pretrained(checkpoint(), add_pooling_layer=True).eval()
    state["head"] = torch.nn.Linear(state["bert"].config.hidden_size, HEAD).eval()
    state["threads"] = CapacityLimiter(int(os.environ.get(AT_ONCE, os.cpu_count() or 1)))
    yield


app = FastAPI(lifespan=_lifespan)


def _suggest(texts: list[str], top_k: int) -> list[dict[str, Any]]:
    import torch

    with torch.inference_mode():
        given = state["tokenizer"](texts, return_tensors="pt", padding=True, truncation=True, max_length=LONGEST)
        logits = state["head"](state["bert"](**given).pooler_output)
        best = logits.softmax(dim=-1).topk(top_k)
    return [
        {"suggestions": [{"target_code": str(code), "confidence": p} for p, code in zip(*row, strict=True)]}
        for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


@app.get("/ready")
async def ready() -> dict[str, int]:
    """Say that the model is loaded."""
    return {"head": HEAD}


@app.post("/predict")
async def predict(body: MappingRequest) -> dict[str, Any]:
    """Answer one input."""
    text = f"{body.cost_code_name} [{body.company_industry}]"
    return (await to_thread.run_sync(lambda: _suggest([text], body.top_k), limiter=state["threads"]))[0]
