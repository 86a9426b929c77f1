"""How fast the models answer over HTTP, beside other ways to serve them: `python -m benchmarks.serving`."""

import json
import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.serving_cases import CASES, Case, Inputs, Probe
from benchmarks.serving_figures import (
    ALONE,
    ALONE_BATCH,
    BATCH,
    REPEATED,
    REPEATED_BATCH,
    SINGLE,
    Found,
    Measured,
    Probed,
    markdown,
    write_plots,
)
from benchmarks.serving_load import Plan, Taken
from benchmarks.serving_servers import OURS, UNGATHERED, UNLOGGED, Running, encoded, running, servers
from crewflow_assets import clock, registration, registry
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.settings import get_settings
from crewflow_assets.store import keys, schema
from crewflow_assets.store.database import transaction

CLIENTS = 8
BATCH_SIZE = 100
REPEATED_TEXTS = 200
WARM = 100
MOST_PER_SECOND = {SINGLE: 800, BATCH: 40, ALONE: 400, ALONE_BATCH: 40}
"""More requests than any server answers, so that unrepeated texts last."""
PATIENCE_SECONDS = 1800

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often is measured, with small fits or usual ones, with the large chart or without."""

    rounds: int
    seconds: float
    probes: int
    small: bool
    large: bool


FULL, QUICK = Effort(5, 8.0, 10, small=False, large=True), Effort(2, 2.0, 3, small=True, large=False)


def prepare(case: Case, effort: Effort) -> str:
    """Fit, register and promote a model, write what it needs into the store, and return a platform key."""
    case.write(effort.small, effort.large)
    with transaction() as session:
        token, _ = keys.create(session, "benchmark", None)
    now = clock.now()
    with TemporaryDirectory() as folder:
        case.fit(effort.small).save(Path(folder))
        (Path(folder) / MODEL_NAME).write_text(case.spec.name)
        record = registration.TrainingRecord(
            role="candidate",
            seed=0,
            data_until=now - timedelta(days=1),
            feature_hash="benchmark",
            code_hash="benchmark",
        )
        version = registration.register(case.spec, Path(folder), record)
    registry.promote(version, registry.CHAMPION)
    return token


class Loaded(NamedTuple):
    """What the clients took down, and the seconds of processor time that a request cost the server."""

    taken: Taken
    worked: float


class Bench:
    """The servers of one model, running, and the inputs that none of them has seen."""

    def __init__(self, case: Case, effort: Effort, home: Path, started: dict[str, Running]) -> None:
        self._case = case
        self._effort = effort
        self._home = home
        self._started = started
        self._used = 0

    def fresh(self, count: int) -> Inputs:
        """Return inputs that were never sent to any server."""
        self._used += count
        return self._case.inputs(self._used - count, count)

    def load(self, name: str, inputs: Inputs, *, batch: int, repeated: bool, clients: int) -> Loaded:
        """Send inputs to a server from a client process."""
        started = self._started[name]
        asked = started.server
        bodies = encoded(asked, inputs, batch=batch)
        path = asked.single if batch == 1 else asked.batch
        file = self._home / "bodies.jsonl"
        file.write_bytes(bodies)
        requests = len(bodies.splitlines())
        plan = Plan(
            url=f"{started.url}{path}",
            headers=dict(asked.headers),
            bodies=str(file),
            clients=clients,
            seconds=self._effort.seconds,
            warm=requests if repeated else min(WARM if batch == 1 else 2, requests // 4),
            cycle=repeated,
        )
        plan_file = self._home / "plan.json"
        plan_file.write_text(json.dumps(asdict(plan)))
        command = [sys.executable, "-m", "benchmarks.serving_load", str(plan_file)]
        before = started.worked()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the clients of {name} failed:\n{done.stderr[-3000:]}")
        taken = Taken(**json.loads(done.stdout))
        return Loaded(taken, (started.worked() - before) / (plan.warm + len(taken.latencies)))

    def rounds(self, progress: Progress) -> list[Measured]:
        """Measure every server under every load, in turn, back and forth, so that all meet the same noise."""
        loads = [
            (SINGLE, 1, False, CLIENTS),
            (REPEATED, 1, True, CLIENTS),
            (BATCH, BATCH_SIZE, False, CLIENTS),
            (REPEATED_BATCH, BATCH_SIZE, True, CLIENTS),
            (ALONE, 1, False, 1),
            (ALONE_BATCH, BATCH_SIZE, False, 1),
        ]
        plan = [
            (load, size, repeated, clients, name)
            for load, size, repeated, clients in loads
            for name, started in self._started.items()
            if (size == 1 or (started.server.batch is not None and name not in (UNLOGGED, UNGATHERED)))
            and (self._case.texts or not repeated)
            and (clients > 1 or name == OURS)
        ]
        loaded: dict[tuple[str, str], list[Loaded]] = {}
        bar = progress.add_task(self._case.spec.name, total=self._effort.rounds * len(plan))
        for number in range(self._effort.rounds):
            inputs = {
                load: self.fresh(
                    max(REPEATED_TEXTS, BATCH_SIZE)
                    if repeated
                    else int(MOST_PER_SECOND[load] * self._effort.seconds) * size
                )
                for load, size, repeated, _ in loads
            }
            for load, size, repeated, clients, name in plan if number % 2 == 0 else reversed(plan):
                progress.update(bar, description=f"{self._case.spec.name}: {load}, {name}")
                one = self.load(name, inputs[load], batch=size, repeated=repeated, clients=clients)
                loaded.setdefault((name, load), []).append(one)
                progress.advance(bar)
        return [
            Measured(
                model=self._case.spec.name,
                server=name,
                load=load,
                rows=size,
                rates=tuple(len(one.latencies) / one.seconds for one, _ in loaded[name, load]),
                worked=tuple(worked for _, worked in loaded[name, load]),
                latencies=tuple(latency for one, _ in loaded[name, load] for latency in one.latencies),
            )
            for load, size, _, _, name in plan
        ]

    def parts(self) -> dict[str, float]:
        """Return the median milliseconds of each part of a single answer; HTTP is what the others leave."""
        model = registry.load(self._case.spec, registry.CHAMPION)
        count = 20 * self._effort.probes
        timed = self._case.parts(self._case.spec, model.predictor, self.fresh(count))
        whole, _ = self.load(OURS, self.fresh(4 * count), batch=1, repeated=False, clients=1)
        found = {name: 1000 * float(np.median(seconds)) for name, seconds in timed.items()}
        total = 1000 * float(np.median(whole.latencies))
        rest = total - sum(found.values())
        return {**found, "HTTP, key, validation, log, thread": rest, "all, as the client sees it": total}

    def probe(self, probe: Probe) -> Probed:
        """Time one request alone, again and again with other inputs; the first may have to prepare for minutes."""
        import httpx

        server, url = self._started[OURS].server, self._started[OURS].url
        path = server.single if probe.size == 1 else server.batch

        def ask() -> float:
            self._used += probe.size
            inputs = probe.inputs(self._used, probe.size)
            body = server.body(inputs[0]) if probe.size == 1 else server.batch_body(inputs)
            began = perf_counter()
            while True:
                answer = client.post(f"{url}{path}", json=body)
                if answer.status_code == 200:
                    return perf_counter() - began
                if answer.status_code < 500 or perf_counter() - began > PATIENCE_SECONDS:
                    raise RuntimeError(f"{probe.name}: {answer.status_code} {answer.text[:500]}")
                sleep(1)

        times = max(self._effort.probes, probe.times)
        with httpx.Client(headers=dict(server.headers), timeout=PATIENCE_SECONDS) as client:
            return Probed(probe.name, probe.limit_seconds, ask(), tuple(ask() for _ in range(times)))


def measure(case: Case, home: Path, effort: Effort, progress: Progress) -> Found:
    """Measure one model with all its servers."""
    bar = progress.add_task(f"{case.spec.name}: fitting and filling the store", total=None)
    token = prepare(case, effort)
    progress.update(bar, description=f"{case.spec.name}: starting servers")
    with ExitStack() as stack:
        started = {
            server.name: stack.enter_context(running(server, home))
            for server in servers(case.spec.name, token, design=case.design)
        }
        bench = Bench(case, effort, home, started)
        progress.update(bar, description=f"{case.spec.name}: servers run", total=1, completed=1)
        measured = bench.rounds(progress)
        bar = progress.add_task(f"{case.spec.name}: the parts of an answer", total=None)
        parts = bench.parts()
        probes = []
        for probe in case.probes:
            if effort.large or not probe.slow_start:
                progress.update(bar, description=f"{case.spec.name}: {probe.name}")
                probes.append(bench.probe(probe))
    notes = (
        f"{CLIENTS} clients (alone: one) in a process of their own on the servers' machine ({os.cpu_count()} cores, "
        f"{platform.machine()}); batches of {BATCH_SIZE}; {effort.rounds} rounds of {effort.seconds:g} s each, all "
        "servers in turn; one process a server, keys and logs on for ours.",
    )
    return Found(case.spec.name, tuple(measured), parts, tuple(probes), notes)


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Short rounds, a small fit, no 50,000 accounts: a smoke run.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write one record a model, server and load here.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Write plots into this directory.")] = None,
    only: Annotated[str | None, typer.Option(help=f"Measure one model: {', '.join(CASES)}.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often each server is asked in turn.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.5, help="For how long each time.")] = None,
    large: Annotated[bool, typer.Option("--large", help="The chart of 50,000 accounts, though --quick.")] = False,
) -> None:
    """Measure requests a second, p50 and p99 of the gateway beside its peers, on models fitted for the purpose.

    State is kept in a temporary folder, whatever CREWFLOW_HOME says. Nothing else should run meanwhile: clients and
    servers share the machine's cores, so compare the servers with each other rather than with other machines.
    """
    if only is not None and only not in CASES:
        console.print(f"there is no case for {only!r}; there are {', '.join(CASES)}")
        raise typer.Exit(2)
    effort = QUICK if quick else FULL
    effort = replace(
        effort, rounds=rounds or effort.rounds, seconds=seconds or effort.seconds, large=effort.large or large
    )
    found: list[Found] = []
    with TemporaryDirectory(prefix="crewflow-serving-") as folder, Progress(console=console) as progress:
        home = Path(folder)
        os.environ.setdefault("CREWFLOW_ENCODER_CACHE", str(get_settings().root / "encoder"))
        os.environ["CREWFLOW_HOME"] = str(home)
        os.environ.pop("CREWFLOW_DATABASE_URL", None)
        os.environ["CREWFLOW_REQUESTS_PER_MINUTE"] = "10000000"  # the speed is asked, not the limit
        get_settings.cache_clear()
        schema.upgrade()
        for name, case in CASES.items():
            if only in (None, name):
                found.append(measure(case, home, effort, progress))
                print(markdown(found[-1]))
                if json_file is not None:  # after each model, so that an interrupted run leaves what it has
                    records = [m.as_json() for one in found for m in one.measured]
                    rest = [
                        {"model": f.model, "parts_ms": f.parts, "probes": [asdict(p) for p in f.probes]}
                        for f in found
                    ]
                    json_file.write_text(json.dumps({"loads": records, "answers": rest}, indent=1))
    if plots is not None:
        write_plots(found, plots)


if __name__ == "__main__":
    typer.run(main)
