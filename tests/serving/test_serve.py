"""The gateway as it is run: ``bentoml serve``, a really fitted model, promotion while serving, and a clean end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine, func, select

from benchmarks.postgres import free_port
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Prediction
from serving.client import MLClient, MLProblem
from serving.prediction_log import PredictionLog
from serving.service import WORKER_ENVIRONMENT
from tests.serving import small_model
from tests.serving.conftest import MAPPING_INPUT, add_company, bearer, new_key

ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
POLL_SECONDS = 40.0


@pytest.fixture
def environment(sqlite_store: Engine, home: Path) -> dict[str, str]:
    return environment_of(home)


def environment_of(home: Path) -> dict[str, str]:
    """Return the environment of a gateway that is alone in its home folder, with its own BentoML folder."""
    return {
        **{name: os.environ[name] for name in os.environ.keys() - {"PROMETHEUS_MULTIPROC_DIR", *WORKER_ENVIRONMENT}},
        "CREWFLOW_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
    }


@contextmanager
def running(
    environment: dict[str, str], home: Path, service: str = "serving.gateway:service"
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a gateway and end it, if that was not done."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "bentoml"), "serve", service, "--port", str(port)]
    with (home / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.perf_counter() + START_SECONDS
        while not alive(url):
            assert process.poll() is None, (home / "gateway.log").read_text()
            assert time.perf_counter() < deadline, (home / "gateway.log").read_text()
            time.sleep(0.2)
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()  # its worker is in a process group of its own, and only it can end it
        process.wait(timeout=30)


@pytest.fixture
def gateway(environment: dict[str, str], home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A gateway without any model, alone in its home folder."""
    with running(environment, home) as started:
        yield started


def alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(ml: MLClient, label: str) -> None:
    """Ask until the champion is the version of that label; every answer on the way is a right one."""
    deadline = time.perf_counter() + POLL_SECONDS
    while time.perf_counter() < deadline:
        try:
            if ml.predict("cost_code_mapping", "champion", MAPPING_INPUT)["model_version"] == label:
                return
        except MLProblem as problem:
            if problem.status != 503:
                raise
        time.sleep(0.2)
    raise AssertionError(f"version {label} is not served")


def test_the_gateway_from_start_to_end(
    gateway: tuple[str, subprocess.Popen[bytes]], environment: dict[str, str], home: Path
) -> None:
    url, process = gateway
    add_company("c-17")
    token, _ = new_key("c-17")
    platform, _ = new_key(None)
    assert httpx.get(f"{url}/livez").status_code == 200
    workers = psutil.Process(process.pid).children(recursive=True)
    serving = [worker.environ() for worker in workers if "worker.service" in str(worker.cmdline())]
    assert serving
    assert all(one.items() >= WORKER_ENVIRONMENT.items() for one in serving)
    nothing = httpx.post(f"{url}/v1/cost_code_mapping/predict", json=MAPPING_INPUT, headers=bearer(token))
    assert nothing.status_code == 503
    assert "crewflow" in nothing.json()["detail"]

    with MLClient(url, token) as ml:
        first = small_model.register(1)  # from another process than the gateway's, as training does
        wait_for(ml, first)
        stored = {name: value for name, value in MAPPING_INPUT.items() if name != "target_accounts"}
        before = ml.predict("cost_code_mapping", "champion", stored)
        assert before["suggestions"][0]["target_code"] == "50100"
        batch = ml.predict_batch("cost_code_mapping", first, [stored] * 100)
        assert {one["variant"] for one in batch} == {"pinned"}

        correction = {"system": "quickbooks", "source_code": "ELEC-105", "target_code": "61000", "decided_by": "u-1"}
        decided = httpx.post(
            f"{url}/v1/mappings/correct",
            json={**correction, "prediction_id": before["prediction_id"]},
            headers={**bearer(token), "Idempotency-Key": "k-1"},
        )
        assert decided.status_code == 200, decided.text
        after = ml.predict("cost_code_mapping", "champion", stored)
        assert (after["suggestions"][0]["target_code"], after["method"]) == ("61000", "person")
        shown = httpx.get(f"{url}/v1/mappings?suggestions=true", headers=bearer(token)).json()
        assert (shown["mapped"], shown["total"], len(shown["items"])) == (1, 4, 3)
        assert all(item["prediction"]["withheld"] or item["prediction"]["suggestions"] for item in shown["items"])

        second = small_model.register(2)
        wait_for(ml, second)
        last = ml.predict("cost_code_mapping", "champion", stored)
        models = httpx.get(f"{url}/v1/models", headers=bearer(token)).json()["models"]
    assert [version["version"] for version in models[0]["versions"]] == [second, first]
    assert "crewflow_predictions_total" in httpx.get(f"{url}/metrics").text

    with MLClient(url, platform) as ml, ThreadPoolExecutor() as sender:
        ml.predict("cost_code_mapping", "champion", MAPPING_INPUT)
        in_flight = sender.submit(ml.predict_batch, "cost_code_mapping", "champion", [MAPPING_INPUT] * 1000)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert len(in_flight.result()) == 1000, "what is in flight is answered"
    assert process.wait(timeout=20) == 0
    with reading() as session:
        assert session.get(Prediction, last["prediction_id"]) is not None, "the log is written at shutdown"
        assert (session.scalar(select(func.count()).select_from(Prediction)) or 0) > 105
    told = (home / "gateway.log").read_text()
    assert "Traceback" not in told, told
    alone(environment, home, platform, token, second)


def alone(environment: dict[str, str], home: Path, platform: str, company: str, champion: str) -> None:
    """Start again where neither registry nor database can be reached, with what is on disk."""
    (home / "mlflow").rename(home / "mlflow-away")
    (home / "mlflow").write_text("a file where the registry's folder should be")
    nowhere = f"postgresql://crewflow@127.0.0.1:{free_port()}/none"
    with running(environment | {"CREWFLOW_DATABASE_URL": nowhere}, home) as (url, process):
        [mapping, *_] = httpx.get(f"{url}/v1/models", headers=bearer(platform)).json()["models"]
        assert (mapping["source"], mapping["ready"], mapping["versions"]) == ("cache", True, None)
        with MLClient(url, platform) as ml:
            answer = ml.predict("cost_code_mapping", "champion", MAPPING_INPUT)
        assert answer["model_version"] == champion
        of_the_store = {name: value for name, value in MAPPING_INPUT.items() if name != "target_accounts"}
        for key in (company, "cfk_never_seen"):
            refused = httpx.post(f"{url}/v1/cost_code_mapping/predict", json=of_the_store, headers=bearer(key))
            assert refused.status_code == 503, refused.text
            assert "database" in refused.json()["detail"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    with reading() as session:
        assert session.get(Prediction, answer["prediction_id"]) is None
    log = PredictionLog()
    log.start()  # as the next gateway does
    deadline = time.perf_counter() + POLL_SECONDS
    while log.spool.parts() and time.perf_counter() < deadline:
        time.sleep(0.05)
    log.stop()
    with reading() as session:
        assert session.get(Prediction, answer["prediction_id"]) is not None, "what was answered meanwhile is logged"
