"""Paired worlds of syncs: each prevention's world stepped once, and its failures retried by each policy.

Draws are those of ``twin.sync`` and ``twin.retries``, with parameters from their ranges; what happens to an
integration whatever anyone does is the same in every world of a draw. Retries do not change the world that they are
played in: a sync that a retry has mended leaves as many records to the next one as if it had not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.backtest.fates import CAUSES, Due, due_syncs, fate_of
from crewflow_assets.backtest.models import Models
from crewflow_assets.backtest.preventing import FRESHNESS_MINUTES
from crewflow_assets.backtest.preventing import Ceiling as PreventionCeiling
from crewflow_assets.backtest.retries import LearnedRetries
from crewflow_assets.backtest.scoring import ModelScorer
from crewflow_assets.backtest.watched import Watched
from crewflow_assets.retry_strategy.plan import Values
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.retries.ceiling import Ceiling as RetryCeiling
from crewflow_assets.twin.retries.parameters import RetryParameters
from crewflow_assets.twin.retries.play import Played, play
from crewflow_assets.twin.retries.policies import Aws, Fixed
from crewflow_assets.twin.retries.policy import RetryPolicy
from crewflow_assets.twin.retries.record import record
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.attempts import Attempts, Cause
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY, SyncParameters
from crewflow_assets.twin.sync.policy import Policy
from crewflow_assets.twin.sync.world import SyncWorld, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)
FIRST_SEED = 7001
"""The worlds asked are of these seeds on; models learn from others."""
SETTLING_DAYS = 1
"""The last day's syncs are not counted: a day must pass before a failure is abandoned for good."""
MENDED_WITHIN = 60.0
"""Minutes within which a retry has to succeed for the sync to count as one that did not fail."""
DAY_MINUTES = 24 * 60.0

NO_PREVENTION, ACTIONS, BEST_PREVENTION = "no prevention", "sync-health actions", "ceiling"
FIXED, AWS, LEARNED, BEST_RETRIES = "fixed 3× exponential", "AWS adaptive", "learned", "ceiling"
PREVENTIONS, RETRIES = (NO_PREVENTION, ACTIONS), (FIXED, AWS, LEARNED)
FIXED_BASE_SECONDS = 1.0
BEARABLE = 0.1
"""The risk at which the ceiling of prevention lets a sync run."""
SURE = 0.8
"""The chance of success at which the ceiling of retries tries."""

Cell = tuple[str, str]
"""Prevention, retries."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many draws of how many integrations; policies act after ``warm_up`` days, and ``days`` are counted."""

    draws: int = 50
    integrations: int = 10
    warm_up: int = 7
    days: int = 5

    @property
    def from_tick(self) -> int:
        """When policies begin to act."""
        return self.warm_up * TICKS_PER_DAY

    @property
    def until_tick(self) -> int:
        """When counting ends."""
        return self.from_tick + self.days * TICKS_PER_DAY

    def world(self) -> SyncWorld:
        """Return the worlds, not yet begun."""
        draws = [standard_draw(seed, self.integrations, draw_parameters(SyncParameters, seed)) for seed in self.seeds]
        return SyncWorld(draws, start=START, days=self.warm_up + self.days + SETTLING_DAYS)

    @property
    def seeds(self) -> range:
        """The seed of each draw."""
        return range(FIRST_SEED, FIRST_SEED + self.draws)


@dataclass(frozen=True, slots=True)
class SyncSums:
    """What a prevention and a retry policy came to: sums by draw.

    Attributes:
        due: Syncs due when nobody acts.
        failed: Of these, such as failed: neither the attempt that carried it nor a retry within an hour succeeded, or
            nothing did within the freshness limit.
        waited: Minutes from when each was due until its data was there, at most a day each, in all.
        late: Whose data was not there within an hour, by whatever attempt or retry.
        stale: For which nothing succeeded within the freshness limit.
        calls: Calls to the API, in all attempts and retries of the counted days.
        failures: Attempts that failed.
        mended: Of these, by a retry within an hour.
        mended_in_a_day: Of these, by a retry within a day.
        retried: Failed attempts that were retried.
        retries: Retries made.
        left: Failures that no retry mended within a day.
        duplicates: Writes that took effect once more.
        asks: Times that people were asked for a grant or for records.
        alerts: That people were told.
        failed_by: ``failed``, by the cause when nobody acts.
    """

    due: Floats
    failed: Floats
    waited: Floats
    late: Floats
    stale: Floats
    calls: Floats
    failures: Floats
    mended: Floats
    mended_in_a_day: Floats
    retried: Floats
    retries: Floats
    left: Floats
    duplicates: Floats
    asks: Floats
    alerts: Floats
    failed_by: Mapping[Cause, Floats]


def play_syncs(
    size: Size, models: Models, progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
) -> dict[Cell, SyncSums]:
    """Step and play every cell, and the ceiling of both together.

    Args:
        size: How much.
        models: What acts.
        progress: Told what is under way, how much of it is done, and of how much.
    """
    found: dict[Cell, SyncSums] = {}
    due: Due | None = None
    retry_policies = _retry_policies(models)
    for prevention in (*PREVENTIONS, BEST_PREVENTION):
        world = size.world()
        policy = _prevention(prevention, world, models, size)
        recorded = record(world, policy, progress=lambda done, total, name=prevention: progress(name, done, total))  # type: ignore[misc]
        attempts = recorded.attempts
        due = due or due_syncs(attempts, world.fleet.draw, from_tick=size.from_tick, until_tick=size.until_tick)
        retry_world = RetryWorld(recorded, [draw_parameters(RetryParameters, seed) for seed in size.seeds])
        names = (BEST_RETRIES,) if prevention == BEST_PREVENTION else RETRIES
        for number, name in enumerate(names, start=1):
            played = play(retry_world, retry_policies[name](retry_world))
            found[prevention, name] = _sums(size, due, retry_world, played, policy)
            progress(f"{prevention}: retries", number, len(names))
    return found


def _retry_policies(models: Models) -> dict[str, Callable[[RetryWorld], RetryPolicy]]:
    return {
        FIXED: lambda _world: Fixed(FIXED_BASE_SECONDS),
        AWS: Aws,
        LEARNED: lambda world: LearnedRetries(world, models.retry, Values(exploration=0.0)),
        BEST_RETRIES: lambda world: RetryCeiling(world, sure=SURE),
    }


def _prevention(name: str, world: SyncWorld, models: Models, size: Size) -> Policy | None:
    if name == ACTIONS:
        return Watched(world, ModelScorer(world, models.sync, from_tick=size.from_tick), from_tick=size.from_tick)
    if name == BEST_PREVENTION:
        return PreventionCeiling(world, from_tick=size.from_tick, bearable=BEARABLE)
    return None


def _sums(size: Size, due: Due, world: RetryWorld, played: Played, policy: Policy | None) -> SyncSums:
    attempts, calls, draws = world.recorded.attempts, world.calls, len(world.recorded.world.draws)
    draw = world.fleet.draw
    fate = fate_of(due, mended(attempts, calls.attempt, played), freshness_minutes=FRESHNESS_MINUTES)

    def of_due(values: npt.NDArray[np.generic]) -> Floats:
        return np.bincount(due.draw, np.asarray(values, np.float64), draws).astype(np.float64)

    counted = (calls.tick >= size.from_tick) & (calls.tick < size.until_tick)

    def of_calls(values: npt.NDArray[np.generic]) -> Floats:
        found = np.bincount(draw[calls.who[counted]], np.asarray(values, np.float64)[counted], draws)
        return found.astype(np.float64)

    in_time = (attempts.tick >= size.from_tick) & (attempts.tick < size.until_tick)
    made = np.bincount(draw[attempts.who[in_time]], attempts.calls[in_time].astype(float), draws).astype(np.float64)
    log = played.log
    of_log = counted[log.call]
    cost = np.where(log.ok, log.rest, 1.0) + log.look_up
    made += np.bincount(draw[calls.who[log.call[of_log]]], cost[of_log], draws)
    done_in_a_day = played.mended(DAY_MINUTES)
    told, asked = np.zeros(draws), np.zeros(draws)
    if isinstance(policy, Watched):
        told, asked = policy.told.astype(float), policy.asked.astype(float)
    return SyncSums(
        due=of_due(np.ones(len(due.who))),
        failed=of_due(fate.failed),
        waited=of_due(np.minimum(fate.waited, DAY_MINUTES)),
        late=of_due(fate.waited > MENDED_WITHIN),
        stale=of_due(fate.stale),
        calls=made,
        failures=of_calls(np.ones(len(calls))),
        mended=of_calls(played.mended(MENDED_WITHIN)),
        mended_in_a_day=of_calls(done_in_a_day),
        retried=of_calls(played.retries > 0),
        retries=of_calls(played.retries),
        left=of_calls(~done_in_a_day),
        duplicates=of_calls(played.duplicates),
        asks=asked,
        alerts=told,
        failed_by={cause: of_due(fate.failed & (due.cause == cause)) for cause in (*CAUSES, Cause.NONE)},
    )


def mended(attempts: Attempts, failed: Ints, played: Played) -> Attempts:
    """Return attempts as they stand once retries within an hour are through: a mended one succeeded, and later."""
    error, minute = attempts.error.copy(), attempts.minute.copy()
    done = played.mended(MENDED_WITHIN)
    error[failed[done]] = 0
    minute[failed[done]] = played.done_minute[done]
    return replace(attempts, error=error, minute=minute)
