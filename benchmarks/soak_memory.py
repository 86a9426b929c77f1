"""The memory of the gateway's workers during a soak, and how fast it grows."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from benchmarks.soak_trouble import workers

MIB = 1024 * 1024
WARM_SECONDS = 90.0
"""In its first seconds of work, of processor time, a worker fills its caches, which is no growth. Connections are
kept alive, so that one worker may stand idle until the other is killed."""
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Held:
    """The bytes that a worker holds, and the seconds that it has worked, of processor time."""

    size: float
    worked: float


Sample = tuple[float, Mapping[int, Held]]
"""Seconds since the beginning, and what each worker holds, by process id."""


@dataclass(slots=True)
class Memory:
    """Samples of every second."""

    samples: list[Sample] = field(default_factory=list)
    stopping: bool = False

    def watch(self, pid: int) -> None:
        """Sample the workers of a server until told to stop."""
        import psutil

        began = perf_counter()
        while not self.stopping:
            held: dict[int, Held] = {}
            for process in workers(pid):
                try:
                    with process.oneshot():
                        times = process.cpu_times()
                        held[process.pid] = Held(process.memory_info().rss, times.user + times.system)
                except psutil.NoSuchProcess:
                    continue
            if held:
                self.samples.append((perf_counter() - began, held))
            time.sleep(1)


@dataclass(frozen=True, slots=True)
class Growth:
    """MiB an hour of one worker, with a 95 % interval, and the minutes of all workers that it comes from."""

    per_hour: float
    low: float
    high: float
    minutes: int


def mean(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Return the MiB of the mean worker at each moment."""
    return [(at, sum(one.size for one in held.values()) / len(held) / MIB) for at, held in samples]


def by_worker(samples: Sequence[Sample]) -> dict[int, list[tuple[float, float]]]:
    """Return the MiB of each worker at each moment that it lived, by process id."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for at, held in samples:
        for pid, one in held.items():
            found[pid].append((at, one.size / MIB))
    return dict(found)


def busiest_share(samples: Sequence[Sample]) -> float | None:
    """Return the share of the work, in processor time, that a minute's busiest worker did, mean of the minutes.

    Only minutes that began and ended with the same workers, two at least, and in which they worked; None without any.
    """
    shares = []
    by_minute: dict[int, list[Mapping[int, Held]]] = defaultdict(list)
    for at, held in samples:
        by_minute[int(at // MINUTE)].append(held)
    for inside in by_minute.values():
        first, last = inside[0], inside[-1]
        worked = [last[pid].worked - first[pid].worked for pid in first.keys() & last.keys()]
        if len(worked) > 1 and first.keys() == last.keys() and sum(worked) > 0:
            shares.append(max(worked) / sum(worked))
    return float(np.mean(shares)) if shares else None


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Return the slope that all workers have in common, each from its own level on; None before six minutes.

    Least squares on the means of minutes, since seconds are no independent observations, without the first
    ``WARM_SECONDS`` of each worker's work; a worker that replaced a killed one is another worker.
    """
    from scipy import stats

    warm = [(at, {pid: one for pid, one in held.items() if one.worked >= WARM_SECONDS}) for at, held in samples]
    moments, sizes, used = [], [], 0
    for found in by_worker(warm).values():
        minutes: dict[int, list[float]] = defaultdict(list)
        for at, size in found:
            minutes[int((at - found[0][0]) // MINUTE)].append(size)
        if len(minutes) > 1:
            places = np.array(list(minutes), float) / MINUTE
            means = np.array([np.mean(inside) for inside in minutes.values()])
            moments.append(places - places.mean())
            sizes.append(means - means.mean())
            used += 1
    if sum(map(len, moments)) < 6:
        return None
    hours, mib = np.concatenate(moments), np.concatenate(sizes)
    slope = float(hours @ mib / (hours @ hours))
    freedom = len(hours) - used - 1
    error = float(np.sqrt(((mib - slope * hours) ** 2).sum() / freedom / (hours @ hours)))
    apart = float(stats.t.ppf(0.975, freedom)) * error
    return Growth(slope, slope - apart, slope + apart, len(hours))
