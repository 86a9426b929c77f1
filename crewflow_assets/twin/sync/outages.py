"""What becomes of the API servers: outages with their omens and aftermath, planned maintenance, slow hours.

All of it is drawn before the world is stepped and does not know what the integrations do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from crewflow_assets.arrays import Bools, Floats
from crewflow_assets.twin.randomness import Randomness, chance, lognormal
from crewflow_assets.twin.sync.parameters import OUTAGE_QUANTILES, SyncParameters

MINUTES_PER_DAY = 1440
MONTH_DAYS = 30.4
AFTERMATH_MINUTES = 25.0


class Kind(IntEnum):
    """What is the matter with a server, in rising order: of two at once the later hides the other."""

    NORMAL = 0
    PASSING = 1
    OMEN = 2
    AFTERMATH = 3
    MAINTENANCE = 4
    OUTAGE = 5


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in a server's life, in minutes since the world's beginning.

    Attributes:
        kind: What it is.
        start: Its first minute.
        end: Its end.
        failing: Probability that a sync of a customer whom it touches fails in it.
        latency: Factor on the usual latency.
        first: The customers are spread evenly over [0, 1); it touches those from here …
        share: … over this share of them.
        announced: Whether the status page shows it; an outage's status comes late.
    """

    kind: Kind
    start: float
    end: float
    failing: float
    latency: float
    first: float = 0.0
    share: float = 1.0
    announced: bool = False


NORMAL = Phase(Kind.NORMAL, 0.0, 0.0, 0.0, 1.0)


def outage_minutes(quantile: Floats, longest_hours: Floats | float) -> Floats:
    """Return the lengths of outages in minutes at quantiles in [0, 1): see ``OUTAGE_QUANTILES``."""
    minutes, shares = np.array(OUTAGE_QUANTILES).T
    inner = np.exp(np.interp(quantile, shares, np.log(minutes)))
    beyond = (np.asarray(quantile) - shares[-1]) / (1 - shares[-1])
    tail = minutes[-1] * (np.asarray(longest_hours) * 60 / minutes[-1]) ** np.clip(beyond, 0, 1)
    lengths: Floats = np.where(beyond > 0, tail, inner)
    return lengths


def outage_survival(age: Floats, longest_hours: Floats | float) -> Floats:
    """Return the share of outages that last longer than ``age`` minutes; the inverse of ``outage_minutes``."""
    minutes, shares = np.array(OUTAGE_QUANTILES).T
    safe = np.maximum(age, minutes[0])
    inner = np.interp(np.log(safe), np.log(minutes), shares)
    end = np.log(np.asarray(longest_hours) * 60 / minutes[-1])
    beyond = shares[-1] + (1 - shares[-1]) * np.clip(np.log(safe / minutes[-1]) / end, 0, 1)
    over: Floats = np.where(safe > minutes[-1], beyond, inner)
    return 1 - over


def draw_phases(
    randomness: Randomness, system: str, days: int, weekday: int, parameters: SyncParameters
) -> list[Phase]:
    """Return all that befalls a server in the days given, ordered as ``Kind`` is and then by time.

    Args:
        randomness: Of the world.
        system: Whose server it is.
        days: How long.
        weekday: Of the first day, Monday being 0.
        parameters: Of the world.
    """
    phases: list[Phase] = []
    for number, start in enumerate(_moments(randomness, system, "outages", parameters.outages_per_month, days)):
        phases += _outage(randomness.generator(system, f"outage {number}"), start, parameters)
    passing = parameters.passing_degradations_per_month
    for number, start in enumerate(_moments(randomness, system, "slow hours", passing, days)):
        rng = randomness.generator(system, f"slow hour {number}")
        length = lognormal(rng, 45, 0.7)
        latency, failing = 1.6 + 2.5 * rng.random(), 0.03 * rng.random()
        phases.append(Phase(Kind.PASSING, start, start + length, failing, latency))
    rng = randomness.generator(system, "maintenance")
    for day in range(days):
        is_sunday = (weekday + day) % 7 == 6
        begins, length, announced = rng.random(3)
        if is_sunday and chance(rng, parameters.maintenance_per_month * 7 / MONTH_DAYS):
            start = day * MINUTES_PER_DAY + 60 * (5 + 4 * begins)
            end = start + 60 * (1 + 2 * length)
            known = announced < parameters.maintenance_announced_share
            phases.append(Phase(Kind.MAINTENANCE, start, end, 1.0, 1.0, announced=known))
    return sorted(phases, key=lambda phase: (phase.kind, phase.start))


def _moments(randomness: Randomness, system: str, what: str, per_month: float, days: int) -> list[float]:
    """Return the moments of a Poisson process, in minutes; a longer history begins with the shorter one's."""
    rng = randomness.generator(system, what)
    mean = MONTH_DAYS * MINUTES_PER_DAY / per_month
    found, at = [], mean * rng.standard_exponential()
    while at < days * MINUTES_PER_DAY:
        found.append(at)
        at += mean * rng.standard_exponential()
    return found


def _outage(rng: np.random.Generator, start: float, parameters: SyncParameters) -> Iterable[Phase]:
    length = float(outage_minutes(np.array(rng.random()), parameters.longest_outage_hours))
    partial, intermittent, omen, aftermath, missed, first = rng.random(6)
    is_long = length > 240  # what lasts half a day seldom touches everybody
    share = 0.1 + 0.5 * rng.random() if partial < (0.8 if is_long else parameters.partial_share) else 1.0
    failing = 0.4 + 0.4 * rng.random() if intermittent < parameters.intermittent_share else 0.9 + 0.1 * rng.random()
    latency, lead = 2 + 4 * rng.random(), parameters.degradation_lead_minutes * rng.standard_exponential()
    wake_failing, wake_latency = 0.1 + 0.2 * rng.random(), 1.5 + 1.5 * rng.random()
    end = start + length
    seen = missed >= parameters.status_missed_share
    if omen < parameters.degradation_share:
        yield Phase(Kind.OMEN, max(0.0, start - lead), start, 0.05, latency, first, share)
    yield Phase(Kind.OUTAGE, start, end, failing, 3.0, first, share, announced=seen)
    if aftermath < parameters.aftermath_share:
        yield Phase(Kind.AFTERMATH, end, end + AFTERMATH_MINUTES, wake_failing, wake_latency, first, share)


class Timeline:
    """The phases of many servers, looked up by server and minute.

    Args:
        phases: The phases of each server, ordered as ``draw_phases`` orders them.
        days: How long the timeline is.
    """

    def __init__(self, phases: Sequence[Sequence[Phase]], days: int) -> None:
        table = [NORMAL, *(phase for server in phases for phase in server)]
        self.kind = np.array([phase.kind for phase in table], dtype=np.int8)
        self.start = np.array([phase.start for phase in table])
        self.end = np.array([phase.end for phase in table])
        self.failing = np.array([phase.failing for phase in table])
        self.latency = np.array([phase.latency for phase in table])
        self.first = np.array([phase.first for phase in table])
        self.share = np.array([phase.share for phase in table])
        self._at = np.zeros((len(phases), days * MINUTES_PER_DAY + 1), dtype=np.int32)
        number = 1
        for server, members in enumerate(phases):
            for phase in members:
                begin, end = (max(0, int(np.ceil(minute))) for minute in (phase.start, phase.end))
                self._at[server, begin:end] = number
                number += 1

    def at(self, server: npt.NDArray[np.intp], minute: Floats) -> npt.NDArray[np.int32]:
        """Return the number of the phase that each server is in: an index into the other arrays."""
        return self._at[server, np.minimum(minute.astype(np.intp), self._at.shape[1] - 1)]

    def touches(self, phase: npt.NDArray[np.int32], place: Floats) -> Bools:
        """Say whether a phase touches the customers at these places in [0, 1)."""
        touched: Bools = (place - self.first[phase]) % 1.0 < self.share[phase]
        return touched
