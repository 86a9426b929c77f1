"""The stage of the live experiment: a home of its own, what `crewflow up` runs on it, and looks started there."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from benchmarks.serving_servers import BIN, ROOT
from benchmarks.soak_home import settings_of
from crewflow_assets import clock, registry
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import NotReadyError
from crewflow_assets.models import MODEL_SPECS, spec_named
from crewflow_assets.settings import get_settings

NOT_COPIED = ("mlflow", "models", "dagster", "gateway", "demo.key", "*.log")
PREFIX = "live-"
START_SECONDS = 240.0
LOOK_SECONDS = 300.0
STOP_SECONDS = 60.0
LOOKS = "experiments_looks"
LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
WHERE = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass(frozen=True, slots=True)
class Versions:
    """Labels of what is compared."""

    control: str
    treatment: str


@dataclass(frozen=True, slots=True)
class Code:
    """A cost code as the customer lists it, and the account that is truly right."""

    code: str
    name: str
    group: str | None
    description: str | None
    right: str


@dataclass(frozen=True, slots=True)
class Customer:
    """A company that begins without any mapping."""

    company_id: str
    system: str
    industry: str
    codes: tuple[Code, ...]


def copied_home(source: Path, home: Path, control: str) -> Versions:
    """Copy an installation but for its registry, and register its champions anew.

    Of the mapping the baseline named as control comes first and is champion, so that it is what answers before the
    experiment.

    Raises:
        KeyError: there is no such baseline.
        NotReadyError: the installation has no champion of the mapping, or a baseline is its champion.
    """
    import pandas as pd

    from crewflow_assets.registration import TrainingRecord
    from crewflow_assets.training.steps import register

    with settings_of(source):
        champions = {}
        for spec in MODEL_SPECS:
            try:
                champions[spec.name] = registry.find(spec, registry.CHAMPION), registry.load(spec, registry.CHAMPION)
            except NotReadyError:
                continue
        if COST_CODE_MAPPING.name not in champions:
            raise NotReadyError(f"{source} has no mapping model; fill it with: CREWFLOW_HOME={source} crewflow demo")
        role = champions[COST_CODE_MAPPING.name][0].tags.get(registry.ROLE, "")
        if role != "candidate":
            raise NotReadyError(
                f"the mapping's champion of {source} is {role!r}, which is what a model is compared to"
            )
        tables = (source / "features" / COST_CODE_MAPPING.name).glob("*.parquet")
        features = pd.read_parquet(max(tables, key=lambda file: file.stat().st_mtime))
        seed = get_settings().seed
        baseline = COST_CODE_MAPPING.code().baselines(features, seed=seed)[control]
    shutil.copytree(source, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    with settings_of(home):
        for name, (info, loaded) in champions.items():
            spec = spec_named(name)
            record = TrainingRecord(
                role="candidate", seed=seed, data_until=info.data_until, feature_hash="copied", code_hash="copied"
            )
            if name == COST_CODE_MAPPING.name:
                told = replace(record, role=f"baseline: {control}", feature_hash="baseline")
                first = register(spec, baseline, told)
                registry.promote(first, registry.CHAMPION)
                treatment = register(spec, loaded.predictor, record)
            else:
                registry.promote(register(spec, loaded.predictor, record), registry.CHAMPION)
    return Versions(first.label, treatment.label)


def write_customers(count: int, seed: int) -> list[Customer]:
    """Simulate companies, import their lists into the present home, and return what is truly right there."""
    from crewflow_assets.store.database import transaction
    from crewflow_assets.twin.fill import write_company
    from crewflow_assets.twin.world import build_world

    now = clock.now()
    found = []
    for company in build_world(seed=seed, companies=count, end=now):
        new = replace(
            company, id=f"{PREFIX}{company.id.removeprefix('c-')}", onboarded_at=now, decisions=(), projects=()
        )
        with transaction() as session:
            write_company(session, new, {})
        codes = tuple(
            Code(one.code, one.name, one.group, one.description, company.truth["cost_code", one.code])
            for one in company.cost_codes
        )
        found.append(Customer(new.id, new.system, new.industry, codes))
    return found


@contextmanager
def installation(home: Path, ports: tuple[int, int, int]) -> Iterator[str]:
    """Run `crewflow up` on the present settings; yields the gateway's address.

    Args:
        home: Where its output is written, as ``up.log``.
        ports: Of the gateway, Dagster and MLflow.

    Raises:
        RuntimeError: gateway or Dagster did not get ready; the end of the log is told.
    """
    import httpx

    log = home / "up.log"
    names = ("CREWFLOW_GATEWAY_PORT", "CREWFLOW_DAGSTER_PORT", "CREWFLOW_MLFLOW_PORT")
    environment = os.environ | dict(zip(names, map(str, ports), strict=True))
    gateway, dagster = (f"http://127.0.0.1:{port}" for port in ports[:2])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "crewflow"), "up"], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            began = perf_counter()
            waited = [f"{gateway}/readyz", f"{dagster}/server_info"]
            while waited:
                if process.poll() is not None or perf_counter() - began > START_SECONDS:
                    raise RuntimeError(f"`crewflow up` did not start; its last words:\n{log.read_text()[-3000:]}")
                try:
                    if httpx.get(waited[0], timeout=5).status_code == httpx.codes.OK:
                        waited.pop(0)
                        continue
                except httpx.TransportError:
                    pass  # not listening yet
                sleep(0.5)
            yield gateway
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_SECONDS)


def run_looks(dagster: str) -> None:
    """Start the job of the nightly looks in Dagster, as a person would by hand, and wait for its end.

    Raises:
        RuntimeError: it could not be started, failed, or takes more than five minutes.
    """
    import httpx

    with httpx.Client(base_url=dagster, timeout=60) as http:

        def ask(query: str, **variables: Any) -> dict[str, Any]:
            answer = http.post("/graphql", json={"query": query, "variables": variables}).raise_for_status().json()
            if "errors" in answer:
                raise RuntimeError(f"Dagster refused a query: {answer['errors']}")
            found: dict[str, Any] = answer["data"]
            return found

        [repository] = ask(WHERE)["repositoriesOrError"]["nodes"]
        selector = {
            "repositoryLocationName": repository["location"]["name"],
            "repositoryName": repository["name"],
            "jobName": LOOKS,
        }
        launched = ask(LAUNCH, p={"selector": selector, "runConfigData": {}, "mode": "default"})["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(f"{LOOKS} could not be started: {launched}")
        run, began = launched["run"]["runId"], perf_counter()
        while (status := ask(STATUS, id=run)["runOrError"]["status"]) != "SUCCESS":
            if status in ("FAILURE", "CANCELED") or perf_counter() - began > LOOK_SECONDS:
                raise RuntimeError(f"the run {run} of {LOOKS} is {status} after {perf_counter() - began:.0f} s")
            sleep(0.5)


def crewflow(*words: str) -> str:
    """Run the crewflow command on the present settings and return what it printed.

    Raises:
        RuntimeError: it ended with another status than 0.
    """
    done = subprocess.run([str(BIN / "crewflow"), *words], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"crewflow {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
