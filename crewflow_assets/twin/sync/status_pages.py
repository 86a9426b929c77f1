"""What the status pages show: late, sometimes nothing, sometimes troubles that are none of ours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crewflow_assets.twin.randomness import Randomness, lognormal
from crewflow_assets.twin.sync.outages import MINUTES_PER_DAY, MONTH_DAYS, Kind, Phase
from crewflow_assets.twin.sync.parameters import SyncParameters

OPERATIONAL, DEGRADED, PARTIAL, MAJOR, MAINTENANCE = (
    "operational",
    "degraded",
    "partial_outage",
    "major_outage",
    "maintenance",
)


@dataclass(frozen=True, slots=True, order=True)
class Status:
    """What a page said, and in which minute since the world's beginning."""

    minute: float
    status: str


def page(
    randomness: Randomness, system: str, phases: Sequence[Phase], days: int, parameters: SyncParameters
) -> list[Status]:
    """Return all that the page of a system says over the days given, by time; it begins with "operational"."""
    said = [Status(0.0, OPERATIONAL), *_seen(randomness, system, phases, parameters)]
    rng = randomness.generator(system, "false status")
    mean = MONTH_DAYS * MINUTES_PER_DAY / parameters.status_false_per_month
    at = mean * rng.standard_exponential()
    while at < days * MINUTES_PER_DAY:
        until = at + lognormal(rng, 60, 0.7)
        said += [Status(at, DEGRADED), Status(until, OPERATIONAL)]
        at += mean * rng.standard_exponential()
    return sorted(status for status in said if status.minute < days * MINUTES_PER_DAY)


def _seen(
    randomness: Randomness, system: str, phases: Sequence[Phase], parameters: SyncParameters
) -> Iterator[Status]:
    for phase in phases:
        rng = randomness.generator(system, f"status at {phase.start:.3f}")
        if phase.kind == Kind.MAINTENANCE and phase.announced:
            yield from (Status(phase.start, MAINTENANCE), Status(phase.end, OPERATIONAL))
        elif phase.kind == Kind.OUTAGE and phase.announced:
            shown = phase.start + lognormal(rng, parameters.status_lag_minutes, 0.8)
            over = phase.end + lognormal(rng, parameters.status_lag_minutes, 0.8)
            if shown < phase.end:
                yield from (Status(shown, MAJOR if phase.share == 1 else PARTIAL), Status(over, OPERATIONAL))
