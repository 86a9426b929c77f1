"""The servers of the serving benchmark: how each is started, asked and stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil

from benchmarks.postgres import free_port
from benchmarks.serving_design import AT_ONCE, BASE_SIZE
from crewflow_assets import registry
from crewflow_assets.settings import get_settings

ROOT = Path(__file__).parents[1]
START_SECONDS = 180
BIN = Path(sys.executable).parent

Input = Mapping[str, Any]
OURS, UNLOGGED, UNGATHERED, MLFLOW, BARE, DESIGN, DESIGN_ONE, DESIGN_BASE = (
    "crewflow gateway",
    "the same without logs",
    "the same, single requests not gathered",
    "mlflow models serve",
    "bare FastAPI route, same model",
    "PRD's design: torch BERT + head of 500",
    "PRD's design, one request at a time",
    "PRD's design, BERT of base size",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How a server is started on a port, when it is ready, and what it is sent for one input or a batch."""

    name: str
    command: Callable[[int], Sequence[str]]
    ready: str
    single: str
    batch: str | None
    body: Callable[[Input], Any] = dict
    batch_body: Callable[[Sequence[Input]], Any] = lambda inputs: {"inputs": list(inputs)}
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def servers(model: str, token: str, *, design: str | None) -> list[Server]:
    """Return ours and its peers for a model, each one process."""
    bearer = {"Authorization": f"Bearer {token}"}
    found = [
        Server(
            name=name,
            command=lambda port, module=module: [  # type: ignore[misc]
                *(str(BIN / "bentoml"), "serve", f"{module}:service", "--host", "127.0.0.1", "--port", str(port))
            ],
            ready="/readyz",
            single=f"/v1/{model}/predict",
            batch=f"/v1/{model}/predict_batch",
            headers=bearer,
        )
        for name, module in (
            (OURS, "serving.gateway"),
            (UNLOGGED, "benchmarks.serving_unlogged"),
            (UNGATHERED, "benchmarks.serving_ungathered"),
        )
    ]
    found.append(
        Server(
            name=MLFLOW,
            command=lambda port: [
                *(str(BIN / "mlflow"), "models", "serve", "--model-uri", f"models:/{model}@champion"),
                *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            ],
            ready="/ping",
            single="/invocations",
            batch="/invocations",
            body=lambda one: {"dataframe_records": [dict(one)]},
            batch_body=lambda inputs: {"dataframe_records": [dict(one) for one in inputs]},
            environment={"MLFLOW_TRACKING_URI": registry.tracking_uri()},
        )
    )
    found.append(_fastapi(BARE, "benchmarks.serving_bare:app", "/predict_batch", CREWFLOW_BENCHMARK_MODEL=model))
    if design is not None:
        found.append(_fastapi(DESIGN, design, None))
        found.append(_fastapi(DESIGN_ONE, design, None, **{AT_ONCE: "1"}))
        found.append(_fastapi(DESIGN_BASE, design, None, **{BASE_SIZE: "yes"}))
    return found


def _fastapi(name: str, app: str, batch: str | None, **environment: str) -> Server:
    return Server(
        name=name,
        command=lambda port: [
            *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--no-access-log"),
        ],
        ready="/ready",
        single="/predict",
        batch=batch,
        environment=environment,
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: its address and its process."""

    server: Server
    url: str
    pid: int

    def worked(self) -> float:
        """Return the processor time in seconds that the process and those that it started have taken so far."""
        first = psutil.Process(self.pid)
        total = 0.0
        for process in (*first.children(recursive=True), first):
            with suppress(psutil.NoSuchProcess):  # it has ended, and its time counts among its parent's children's
                total += sum(process.cpu_times()[:4])  # user, system, and those of children that have ended
        return total


@contextmanager
def running(server: Server, home: Path) -> Iterator[Running]:
    """Run a server on a free loopback port until the block ends.

    Raises:
        RuntimeError: it did not get ready; the end of its log is told.
    """
    import httpx

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    slug = "".join(c if c.isalnum() else "-" for c in server.name)
    log = home / f"{slug}.log"
    settings = get_settings()
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",  # mlflow looks for uvicorn there
        "CREWFLOW_HOME": str(settings.root),
        "BENTOML_HOME": str(home / f"bentoml-{slug}"),  # servers that share one share their metrics
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **server.environment,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            server.command(port),
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts can be stopped with it
        )
        try:
            began = perf_counter()
            while not _ready(httpx, url + server.ready):
                if process.poll() is not None or perf_counter() - began > START_SECONDS:
                    raise RuntimeError(f"{server.name} did not start; its last words:\n{log.read_text()[-3000:]}")
                sleep(0.3)
            yield Running(server, url, process.pid)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def _ready(httpx: Any, url: str) -> bool:
    try:
        return bool(httpx.get(url, timeout=5).status_code == 200)
    except httpx.TransportError:
        return False


def encoded(server: Server, inputs: Sequence[Input], *, batch: int) -> bytes:
    """Return the bodies that send these inputs to a server, one a line; ``batch`` 1 sends them singly."""
    if batch == 1:
        bodies = [server.body(one) for one in inputs]
    else:
        bodies = [server.batch_body(inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
    return b"\n".join(json.dumps(body, ensure_ascii=False).encode() for body in bodies)
