"""What happens to the integrations whatever anyone does: records, noise, the other apps, ended grants, our network.

It is drawn by (seed, integration, day), so a world with a policy meets the same luck as one without.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Floats, Ints, Singles
from crewflow_assets.twin.randomness import Randomness, chance, lognormal
from crewflow_assets.twin.sync.calendar import Calendar
from crewflow_assets.twin.sync.fleet import ZONES, Fleet
from crewflow_assets.twin.sync.outages import MINUTES_PER_DAY, MONTH_DAYS
from crewflow_assets.twin.sync.parameters import LIMITS, SYSTEMS, TICK_MINUTES, TICKS_PER_DAY, SyncParameters

UNIFORMS = ("network", "api", "transient", "error", "bad", "heed")
NORMALS = ("latency", "others", "hop", "delay", "drift")
HOP_MS = 38.0
TROUBLED_HOP = 8.0
"""Latency of our side of the line, and the factor on it in trouble: assumptions."""
BURST_OF_DAY = 0.4
"""A burst at full intensity uses this share of a shared daily limit for each hour that it lasts: an assumption."""


@dataclass(frozen=True, slots=True)
class DayLuck:
    """One day's draws: arrays of (tick of the day, integration)."""

    uniform: dict[str, Singles]
    normal: dict[str, Singles]
    records: Ints


class Luck:
    """The luck of all integrations, day by day; the last day asked for is kept."""

    def __init__(self, fleet: Fleet, randomness: Sequence[Randomness], calendar: Calendar) -> None:
        self._fleet = fleet
        self._randomness = randomness
        self._calendar = calendar
        self._day = -1
        self._luck: DayLuck

    def of(self, day: int) -> DayLuck:
        """Return the draws of a day, counted from the world's beginning."""
        if day != self._day:
            self._luck, self._day = self._drawn(day), day
        return self._luck

    def _drawn(self, day: int) -> DayLuck:
        fleet, ticks = self._fleet, slice(day * TICKS_PER_DAY, (day + 1) * TICKS_PER_DAY)
        rates = self._calendar.records[fleet.zone, ticks].T * fleet.records
        size = len(fleet)
        uniform = np.empty((size, len(UNIFORMS), TICKS_PER_DAY), dtype=np.float32)
        normal = np.empty((size, len(NORMALS), TICKS_PER_DAY), dtype=np.float32)
        records = np.empty((TICKS_PER_DAY, size), dtype=np.int64)
        for index, customer in enumerate(fleet.customers):
            rng = self._randomness[fleet.draw[index]].generator(customer.integration_id, f"luck of day {day}")
            rng.random(out=uniform[index], dtype=np.float32)
            rng.standard_normal(out=normal[index], dtype=np.float32)
            records[:, index] = rng.poisson(rates[:, index])
        return DayLuck(
            {name: np.ascontiguousarray(uniform[:, place].T) for place, name in enumerate(UNIFORMS)},
            {name: np.ascontiguousarray(normal[:, place].T) for place, name in enumerate(NORMALS)},
            records,
        )


def usual_other_load(fleet: Fleet, share: Floats, calendar: Calendar) -> Floats:
    """Return the calls a minute that the other apps make in the busiest hour."""
    busy_minutes = float(calendar.busy[:, : 7 * TICKS_PER_DAY].sum(axis=1).mean()) * TICK_MINUTES / 7
    a_day = np.minimum(fleet.limit("calls_per_day") / busy_minutes, fleet.limit("calls_per_minute"))
    return np.where(fleet.has_others, share * a_day, 0.0)


class OtherApps:
    """Bursts of the other apps' calls: imports in working hours, and jobs that run each night."""

    def __init__(
        self, fleet: Fleet, randomness: Sequence[Randomness], parameters: Sequence[SyncParameters], days: int
    ) -> None:
        bursts = [
            (index, *burst)
            for index in np.flatnonzero(fleet.has_others)
            for burst in _bursts(
                fleet, int(index), randomness[fleet.draw[index]], parameters[fleet.draw[index]], days
            )
        ]
        table = np.array(sorted(bursts, key=lambda burst: burst[1]), dtype=float).reshape(-1, 4)
        self._who, self._start, self._end = (table[:, place].astype(np.int64) for place in range(3))
        self._calls = table[:, 3]
        self._longest = int((self._end - self._start).max(initial=0))
        self._size = len(fleet)

    def bursts(self, day: int) -> Floats:
        """Return calls a minute as (tick of the day, integration)."""
        first, beyond = day * TICKS_PER_DAY, (day + 1) * TICKS_PER_DAY
        calls = np.zeros((TICKS_PER_DAY, self._size))
        begin, end = np.searchsorted(self._start, (first - self._longest, beyond))
        for place in range(begin, end):
            ticks = slice(max(0, self._start[place] - first), max(0, self._end[place] - first))
            calls[ticks, self._who[place]] += self._calls[place]
        return calls


def _bursts(
    fleet: Fleet, index: int, randomness: Randomness, parameters: SyncParameters, days: int
) -> Iterator[tuple[int, int, float]]:
    """Yield first tick, last tick and calls a minute."""
    limits = LIMITS[SYSTEMS[fleet.system[index]]]
    full = limits.calls_per_minute
    if limits.calls_per_day is not None:
        full = limits.calls_per_day * BURST_OF_DAY / 60
    zone = ZONES[fleet.zone[index]]
    rng = randomness.generator(fleet.customers[index].integration_id, "bursts")
    nightly_minutes, nightly_share = lognormal(rng, parameters.burst_minutes, 0.4), 0.5 + 0.5 * rng.random()
    for day in range(days):
        hour, intensity = 8 + 9 * rng.random(), parameters.burst_intensity + 0.35 * (2 * rng.random() - 1)
        minutes = lognormal(rng, parameters.burst_minutes, 0.7)
        if chance(rng, parameters.bursts_per_week / 7):
            yield _burst(day, hour - zone, minutes, intensity * full)
        if fleet.nightly[index] >= 0:
            yield _burst(day, fleet.nightly[index] - zone, nightly_minutes, nightly_share * intensity * full)


def _burst(day: int, hour: float, minutes: float, calls: float) -> tuple[int, int, float]:
    start = day * TICKS_PER_DAY + int(hour * 60 / TICK_MINUTES)
    return start, start + max(1, round(minutes / TICK_MINUTES)), calls


def revocations(
    fleet: Fleet, randomness: Sequence[Randomness], parameters: Sequence[SyncParameters], days: int
) -> dict[int, list[int]]:
    """Return the integrations whose grant someone ends, by tick."""
    found: dict[int, list[int]] = {}
    for index, customer in enumerate(fleet.customers):
        rng = randomness[fleet.draw[index]].generator(customer.integration_id, "revocations")
        mean = 365 / parameters[fleet.draw[index]].revocations_per_year
        at = mean * rng.standard_exponential()
        while at < days:
            found.setdefault(int(at * TICKS_PER_DAY), []).append(index)
            at += mean * rng.standard_exponential()
    return found


class Network:
    """Trouble on our side of the line, by draw and minute: the probability that a sync fails of it.

    Its lengths are exponential, so what is under way ends within a time as likely as if it had just begun.
    """

    def __init__(self, randomness: Sequence[Randomness], parameters: Sequence[SyncParameters], days: int) -> None:
        self._failing = np.zeros((len(randomness), days * MINUTES_PER_DAY + 1), dtype=np.float32)
        for number, (luck, each) in enumerate(zip(randomness, parameters, strict=True)):
            rng = luck.generator("network", "troubles")
            mean = MONTH_DAYS * MINUTES_PER_DAY / each.network_troubles_per_month
            at = mean * rng.standard_exponential()
            while at < days * MINUTES_PER_DAY:
                length = each.network_trouble_minutes * rng.standard_exponential()
                self._failing[number, int(at) : int(at + length) + 1] = 0.5 + 0.5 * rng.random()
                at += length + mean * rng.standard_exponential()

    def failing(self, draw: Ints, minute: Floats) -> Floats:
        """Return the probability that a sync in these minutes fails because of our network."""
        at = np.minimum(minute.astype(np.intp), self._failing.shape[1] - 1)
        return self._failing[draw, at].astype(np.float64)


def hop_ms(normal: Floats, failing: Floats) -> Floats:
    """Return the latencies of our side of the line in milliseconds, from normal luck and what ``Network`` says."""
    return HOP_MS * np.exp(0.25 * normal) * np.where(failing > 0, TROUBLED_HOP, 1)
