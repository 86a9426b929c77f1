"""What became of the syncs that were due: with a policy and without, paired sync by sync."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.evaluation.intervals import DRAWS, LEVEL, Interval
from crewflow_assets.twin.sync.attempts import Attempts, Cause

CAUSES = tuple(cause for cause in Cause if cause != Cause.NONE)


@dataclass(frozen=True, slots=True)
class Due:
    """The syncs that are due when nobody acts, one element each, and how they end then."""

    who: Ints
    tick: Ints
    minute: Floats
    draw: Ints
    cause: npt.NDArray[np.int8]

    @property
    def failed(self) -> Bools:
        """Which fail when nobody acts."""
        failed: Bools = self.cause != Cause.NONE
        return failed


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the due syncs under a policy.

    A due sync is carried by the first attempt from then on. It failed if that attempt failed, or if nothing succeeded
    within the freshness limit.

    Attributes:
        failed: Which failed.
        stale: For which nothing succeeded within the limit; the others of the failed were made good in time.
        delay: Minutes from when it was due to the attempt that carried it.
        waited: Minutes from when it was due until something succeeded.
    """

    failed: Bools
    stale: Bools
    delay: Floats
    waited: Floats


def due_syncs(without: Attempts, draw_of: Ints, *, from_tick: int, until_tick: int) -> Due:
    """Return the syncs due in a stretch of the world in which nobody acted: each is an attempt there."""
    chosen = without.where((without.tick >= from_tick) & (without.tick < until_tick))
    return Due(chosen.who, chosen.tick, chosen.minute, draw_of[chosen.who], chosen.cause)


def fate_of(due: Due, attempts: Attempts, *, freshness_minutes: float) -> Fate:
    """Return what becomes of the due syncs in a world whose attempts are given, which goes on for a day beyond.

    An attempt may have succeeded later than one that came after it, where a retry mended it.
    """
    order = np.lexsort((attempts.tick, attempts.who))
    who, minute, ok = attempts.who[order], attempts.minute[order], attempts.ok[order]
    width = int(max(attempts.tick.max(), due.tick.max())) + 1
    carrier = np.searchsorted(who * width + attempts.tick[order], due.who * width + due.tick)
    end = float(minute.max()) + 1
    # each integration's minutes lie in a stretch of their own, so that the earliest success from an attempt on is a
    # running minimum from behind, and one beyond the stretch is none
    success = np.append(who * 2 * end + np.where(ok, minute, end), np.inf)
    next_ok = np.minimum.accumulate(success[::-1])[::-1][carrier] - due.who * 2 * end
    who, minute = np.append(who, -1), np.append(minute, np.inf)
    carried, is_done = who[carrier] == due.who, next_ok < end
    in_time = is_done & (next_ok - due.minute <= freshness_minutes)
    failed = ~carried | ~np.append(ok, False)[carrier] | ~in_time
    delay = np.where(carried, minute[carrier] - due.minute, end - due.minute)
    waited = np.where(is_done, np.maximum(next_ok - due.minute, 0), end - due.minute)
    return Fate(failed, ~in_time, delay, waited)


def ratio(numerator: Floats, denominator: Floats, *, seed: int = 0) -> Interval:
    """Return a ratio of sums with its percentile interval; one element a draw, whole draws are bootstrapped."""
    total = float(denominator.sum())
    if not total:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(numerator.sum()) / total
    drawn = np.random.default_rng(seed).integers(0, len(numerator), size=(DRAWS, len(numerator)))
    below = denominator[drawn].sum(axis=1)
    values = numerator[drawn].sum(axis=1)[below > 0] / below[below > 0]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one policy; shares with 95 % intervals over draws.

    Attributes:
        failed: Failures of a thousand due syncs.
        avoided: Failures fewer than without action, as a share of those; what it caused counts against it.
        of_avoidable: The same as a share of what the ceiling avoided.
        caused: Due syncs that failed only because of the policy, of a thousand.
        stale: Due syncs of a thousand for which nothing succeeded within the freshness limit.
        stale_avoided: Of those without action, fewer, as a share.
        delay: Minutes that a due sync waited, on the mean.
        by_cause: Avoided share by the cause without action.
    """

    failed: Interval
    avoided: Interval
    of_avoidable: Interval
    caused: Interval
    stale: Interval
    stale_avoided: Interval
    delay: float
    by_cause: dict[Cause, Interval]


def more_avoided(due: Due, fate: Fate, other: Fate) -> Interval:
    """Return how many more failures a policy avoids than another, as a share of those without action, by draw."""
    draws = int(due.draw.max()) + 1
    more, before = (
        np.bincount(due.draw, weights=rows, minlength=draws).astype(float)
        for rows in (other.failed.astype(float) - fate.failed, due.failed.astype(float))
    )
    return ratio(more, before)


def figures(due: Due, fate: Fate, *, nothing: Fate, ceiling: Fate) -> Figures:
    """Return the figures of a policy, beside the fates of the same syncs without action and under the ceiling."""

    def a_draw(rows: Bools | Floats) -> Floats:
        return np.bincount(due.draw, weights=rows.astype(float), minlength=int(due.draw.max()) + 1).astype(float)

    before, everything = a_draw(due.failed), a_draw(np.ones(len(due.who)))
    fewer = before - a_draw(fate.failed)
    thousand = everything / 1000
    return Figures(
        failed=ratio(a_draw(fate.failed), thousand),
        avoided=ratio(fewer, before),
        of_avoidable=ratio(fewer, before - a_draw(ceiling.failed)),
        caused=ratio(a_draw(fate.failed & ~due.failed), thousand),
        stale=ratio(a_draw(fate.stale), thousand),
        stale_avoided=ratio(a_draw(nothing.stale) - a_draw(fate.stale), a_draw(nothing.stale)),
        delay=float(fate.delay.mean()),
        by_cause={
            cause: ratio(a_draw((due.cause == cause) & ~fate.failed), a_draw(due.cause == cause)) for cause in CAUSES
        },
    )
