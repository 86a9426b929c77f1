"""The figures of a retry policy: sums by draw, shares with intervals over draws, and who comes out ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crewflow_assets.arrays import Bools, Floats
from crewflow_assets.backtest.fates import ratio
from crewflow_assets.evaluation.intervals import Interval
from crewflow_assets.twin.retries.play import Played
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.attempts import Cause

CAUSES = tuple(cause for cause in Cause if cause != Cause.NONE)
HOURS = (1, 24)


@dataclass(frozen=True, slots=True)
class Sums:
    """What a policy came to, one element a draw; ``done`` within 1 and 24 hours.

    ``minutes``: median minutes to success over all draws; ``by_cause``: share done within 24 hours and retries a
    failure, by the hidden cause of the first failure.
    """

    failures: Floats
    done: Mapping[int, Floats]
    retries: Floats
    retried: Floats
    look_ups: Floats
    duplicates: Floats
    minutes: float
    by_cause: Mapping[Cause, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a policy: of all failures done within 1 and 24 hours, of retried calls done within 24 hours,
    successes of a retry, retries and look-ups a failure; duplicates of 1,000 failures; median minutes to success."""

    within_1h: Interval
    within_24h: Interval
    of_retried: Interval
    per_retry: Interval
    retries: Interval
    look_ups: Interval
    duplicates: Interval
    minutes: float


def sums_of(world: RetryWorld, played: Played, counted: Bools) -> Sums:
    """Add up what became of the calls that count."""
    draw = world.fleet.draw[world.calls.who]
    size = len(world.recorded.world.draws)

    def total(values: npt.NDArray[np.generic]) -> Floats:
        return np.bincount(draw[counted], np.asarray(values, np.float64)[counted], size).astype(np.float64)

    done = {hours: played.mended(60 * hours) for hours in HOURS}
    took = (played.done_minute - played.minute)[counted & done[24]]
    by_cause: dict[Cause, tuple[float, float]] = {}
    for cause in CAUSES:
        mine = counted & (world.calls.cause == cause)
        by_cause[cause] = (
            (float(done[24][mine].mean()), float(played.retries[mine].mean())) if mine.any() else (np.nan, np.nan)
        )
    return Sums(
        failures=total(np.ones(len(draw))),
        done={hours: total(values) for hours, values in done.items()},
        retries=total(played.retries),
        retried=total(played.retries > 0),
        look_ups=total(played.look_ups),
        duplicates=total(played.duplicates),
        minutes=float(np.median(took)) if len(took) else float("nan"),
        by_cause=by_cause,
    )


def waits_for_people(world: RetryWorld) -> Bools:
    """Say which calls failed for what a person has to mend: an ended grant, a refused record."""
    waits: Bools = np.isin(world.calls.cause, (int(Cause.AUTH), int(Cause.DATA_QUALITY)))
    return waits


def figures(sums: Sums) -> Figures:
    """Return the figures of a policy."""
    return Figures(
        within_1h=ratio(sums.done[1], sums.failures),
        within_24h=ratio(sums.done[24], sums.failures),
        of_retried=ratio(sums.done[24], sums.retried),
        per_retry=ratio(sums.done[24], sums.retries),
        retries=ratio(sums.retries, sums.failures),
        look_ups=ratio(sums.look_ups, sums.failures),
        duplicates=ratio(1000 * sums.duplicates, sums.failures),
        minutes=sums.minutes,
    )


@dataclass(frozen=True, slots=True)
class Ahead:
    """Ours against one setting of another policy, paired by draw: what ours has more of a failure.

    Ours is the mix of settings that does most within the hours asked about with as many retries: a call is dealt to
    one of two settings, or given up. Settings and shares are chosen on the other half of the draws.
    """

    done: Interval
    retries: Interval


def ahead(ours: Sequence[Sums], theirs: Sums, hours: int) -> Ahead:
    """Compare mixes of settings of ours with one setting of another policy."""
    size = len(theirs.failures)
    halves = [np.arange(size) % 2 == half for half in (0, 1)]
    done, retries = np.zeros(size), np.zeros(size)
    for here, there in (halves, halves[::-1]):
        points = [(float(one.retries[there].sum()), float(one.done[hours][there].sum())) for one in ours]
        shares = mix(points, float(theirs.retries[there].sum()))
        for one, share in zip(ours, shares, strict=True):
            done[here] += share * one.done[hours][here]
            retries[here] += share * one.retries[here]
    return Ahead(
        ratio(done - theirs.done[hours], theirs.failures),
        ratio(retries - theirs.retries, theirs.failures),
    )


def mix(points: Sequence[tuple[float, float]], budget: float) -> Floats:
    """Return the share of each of some (cost, gain) that gains most within a budget; what lacks to 1 does nothing."""
    shares = np.zeros(len(points))
    hull = [(0.0, 0.0), *envelope(points)]
    inside = [point for point in hull if point[0] <= budget]
    beyond = hull[len(inside)] if len(inside) < len(hull) else None
    last = inside[-1]
    part = 0.0 if beyond is None else (budget - last[0]) / (beyond[0] - last[0])
    if last != (0.0, 0.0):
        shares[list(points).index(last)] = 1 - part
    if beyond is not None:
        shares[list(points).index(beyond)] += part
    return shares


def envelope(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, gain) that no mix of others, or of one and nothing, outdoes, by rising cost."""
    best = [(0.0, 0.0)]
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if cost <= 0 or gain <= best[-1][1]:
            continue
        while len(best) > 1 and _slope(best[-1], (cost, gain)) >= _slope(best[-2], best[-1]):
            best.pop()
        best.append((cost, gain))
    return best[1:]


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return np.inf if other[0] == one[0] else (other[1] - one[1]) / (other[0] - one[0])
