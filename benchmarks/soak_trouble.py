"""What happens to the gateway while the soak's clients work: versions change, workers die, the database stops."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter

import psutil

from benchmarks.postgres import PostgresServer
from benchmarks.soak_home import Version
from benchmarks.soak_load import Champions, Outage
from crewflow_assets import promotion

STOPPED_SECONDS = 10.0
KILLED_SECONDS = 45.0
"""After a kill, connections may break, and the worker that takes its place may not answer yet, for so long."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that was done to the gateway, seconds after the beginning."""

    at: float
    what: str


class Trouble:
    """Makes trouble at even intervals, each kind in its turn."""

    def __init__(
        self,
        gateway: "subprocess.Popen[bytes]",
        server: PostgresServer,
        versions: Sequence[Version],
        champions: Champions,
        outages: list[Outage],
    ) -> None:
        self._gateway = gateway
        self._server = server
        self._versions = versions
        self._champions = champions
        self._outages = outages
        self.happened: list[Happened] = []

    def make(self, until: float, every: float) -> None:
        """Make trouble until a moment of ``perf_counter``; the last stretch is left in peace."""
        began = perf_counter()
        for kind in self._kinds():
            time.sleep(every)
            if perf_counter() > until - every:
                return
            at = perf_counter()
            self.happened.append(Happened(at - began, kind()))

    def _kinds(self) -> "Iterator[Callable[[], str]]":
        models = list(dict.fromkeys(version.spec.name for version in self._versions))
        for number, model in enumerate(cycle(models)):
            yield lambda model=model: self._promote(model)  # type: ignore[misc]
            yield self._kill_worker if number % 2 == 0 else self._stop_database
            yield lambda model=model: self._roll_back(model)  # type: ignore[misc]

    def _promote(self, model: str) -> str:
        other = next(
            version
            for version in self._versions
            if version.spec.name == model and version.label != self._champions.current(model)
        )
        promotion.promote(other.spec, other.label, by="soak", why="a soak's promotion", method="approval")
        self._champions.promoted(model, other.label)
        return f"{model} {other.label} promoted"

    def _roll_back(self, model: str) -> str:
        present = self._champions.current(model)
        spec = next(version.spec for version in self._versions if version.spec.name == model)
        other = next(v.label for v in self._versions if v.spec.name == model and v.label != present)
        promotion.rollback(spec, by="soak", why="a soak's rollback", to=other)
        self._champions.promoted(model, other)
        return f"{model} rolled back to {other}"

    def _kill_worker(self) -> str:
        worker = workers(self._gateway.pid)[0]
        now = perf_counter()
        self._outages.append(Outage("worker killed", now, now, KILLED_SECONDS))
        os.kill(worker.pid, signal.SIGKILL)
        return "worker killed"

    def _stop_database(self) -> str:
        outage = Outage("database stopped", perf_counter())
        self._outages.append(outage)
        self._server.stop()
        time.sleep(STOPPED_SECONDS)
        self._server.start()
        outage.ended = perf_counter()
        return f"database stopped for {STOPPED_SECONDS:.0f} s"


def workers(pid: int) -> list[psutil.Process]:
    """Return the processes of a server that answer requests, the largest first."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            found.append((process.memory_info().rss, process))
        except psutil.NoSuchProcess:
            continue
    largest = sorted(found, key=lambda pair: pair[0], reverse=True)
    return [process for rss, process in largest if rss > largest[0][0] / 2]
