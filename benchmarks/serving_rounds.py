"""The loads of the serving benchmark, and servers that are asked in turn."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import numpy as np
from rich.progress import Progress, TaskID

from benchmarks.serving_cases import Case, Inputs, Probe
from benchmarks.serving_figures import (
    ALONE,
    ALONE_BATCH,
    BATCH,
    LOGS,
    LOGS_REPEATED,
    REPEATED,
    REPEATED_BATCH,
    SINGLE,
    Measured,
    Probed,
)
from benchmarks.serving_load import Plan, Taken
from benchmarks.serving_servers import OURS, UNGATHERED, UNLOGGED, Running, encoded
from crewflow_assets import registry

CLIENTS = 8
BATCH_SIZE = 100
REPEATED_TEXTS = 200
WARM = 100
MOST_SINGLE, MOST_BATCHES = 1500, 100
"""More requests a second than any server answers, so that unrepeated texts last."""
PATIENCE_SECONDS = 1800
PAIR_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: inputs in a request, whether the same ones come again, and from how many clients."""

    name: str
    rows: int
    repeated: bool
    clients: int = CLIENTS
    paired: bool = False
    """Only to compare with and without logs."""


LOADS = (
    Load(SINGLE, 1, repeated=False),
    Load(REPEATED, 1, repeated=True),
    Load(BATCH, BATCH_SIZE, repeated=False),
    Load(REPEATED_BATCH, BATCH_SIZE, repeated=True),
    Load(ALONE, 1, repeated=False, clients=1),
    Load(ALONE_BATCH, BATCH_SIZE, repeated=False, clients=1),
    Load(LOGS, 1, repeated=False, paired=True),
    Load(LOGS_REPEATED, 1, repeated=True, paired=True),
)
LOADS_BY_NAME = {load.name: load for load in LOADS}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often is measured, with small fits or usual ones, with the large chart or without."""

    rounds: int
    seconds: float
    pairs: int
    probes: int
    small: bool
    large: bool

    def times(self, load: Load) -> int:
        """How often a load is sent to each server."""
        return self.pairs if load.paired else self.rounds

    def length(self, load: Load) -> float:
        """For how many seconds it is sent each time."""
        return min(PAIR_SECONDS, self.seconds) if load.paired else self.seconds


FULL = Effort(5, 8.0, 20, 10, small=False, large=True)
QUICK = Effort(2, 2.0, 6, 3, small=True, large=False)


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

    def ask(self, name: str, load: Load, inputs: Inputs) -> Loaded:
        """Send inputs to a server from a client process."""
        started = self._started[name]
        asked = started.server
        bodies = encoded(asked, inputs, batch=load.rows)
        path = asked.single if load.rows == 1 else asked.batch
        file = self._home / "bodies.jsonl"
        file.write_bytes(bodies)
        requests = len(bodies.splitlines())
        plan = Plan(
            url=f"{started.url}{path}",
            headers=dict(asked.headers),
            bodies=str(file),
            clients=load.clients,
            seconds=self._effort.length(load),
            warm=requests if load.repeated else min(WARM if load.rows == 1 else 2, requests // 4),
            cycle=load.repeated,
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
        """Measure every server under every load, in turn, back and forth, so that all meet the same noise.

        The servers with and without logs, which differ by less than the noise of a few rounds, are asked again in
        pairs, oftener and for a shorter time.
        """
        loads = [load for load in LOADS if self._case.texts or not load.repeated]
        bar = progress.add_task(
            self._case.spec.name,
            total=sum(self._effort.times(load) * len(self._asked(load)) for load in loads),
        )
        return [
            measured
            for paired in (False, True)
            for measured in self._in_turn([load for load in loads if load.paired is paired], progress, bar)
        ]

    def _asked(self, load: Load) -> list[str]:
        """Return the servers that a load is for."""
        if load.clients == 1:
            return [OURS]
        if load.paired:
            return [OURS, UNLOGGED]
        return [
            name
            for name, started in self._started.items()
            if name != UNLOGGED and (load.rows == 1 or (started.server.batch is not None and name != UNGATHERED))
        ]

    def _in_turn(self, loads: Sequence[Load], progress: Progress, bar: TaskID) -> list[Measured]:
        plan = [(load, name) for load in loads for name in self._asked(load)]
        loaded: dict[tuple[Load, str], list[Loaded]] = defaultdict(list)
        for number in range(max((self._effort.times(load) for load in loads), default=0)):
            inputs = {load: self._inputs(load) for load in loads}
            for load, name in plan if number % 2 == 0 else reversed(plan):
                progress.update(bar, description=f"{self._case.spec.name}: {load.name}, {name}")
                loaded[load, name].append(self.ask(name, load, inputs[load]))
                progress.advance(bar)
        return [
            Measured(
                model=self._case.spec.name,
                server=name,
                load=load.name,
                rows=load.rows,
                rates=tuple(len(one.latencies) / one.seconds for one, _ in loaded[load, name]),
                worked=tuple(worked for _, worked in loaded[load, name]),
                latencies=tuple(latency for one, _ in loaded[load, name] for latency in one.latencies),
            )
            for load, name in plan
        ]

    def _inputs(self, load: Load) -> Inputs:
        if load.repeated:
            return self.fresh(max(REPEATED_TEXTS, load.rows))
        most = MOST_BATCHES if load.rows > 1 else MOST_SINGLE
        return self.fresh(int(most * self._effort.length(load)) * load.rows)

    def parts(self) -> dict[str, float]:
        """Return the median milliseconds of each part of a single answer; HTTP is what the others leave."""
        model = registry.load(self._case.spec, registry.CHAMPION)
        count = 20 * self._effort.probes
        timed = self._case.parts(self._case.spec, model.predictor, self.fresh(count))
        whole, _ = self.ask(OURS, LOADS_BY_NAME[ALONE], self.fresh(4 * count))
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
