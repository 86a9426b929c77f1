"""The simulated worlds of the retry benchmark: those that are asked, and those that the model learns from."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from crewflow_assets.arrays import Bools
from crewflow_assets.backtest.retries import feature_rows
from crewflow_assets.retry_strategy.model import RetryPredictor, fit
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.retries.parameters import RetryParameters
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Explorer
from crewflow_assets.twin.retries.record import record
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY, SyncParameters
from crewflow_assets.twin.sync.world import SyncWorld, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)
FIRST_SEED = 6001
"""The worlds asked are of these seeds on."""
FIRST_TRAINING_SEED = 5001
SETTLING_DAYS = 1
"""The last day's failures are retried but not counted: a day must pass before a call is abandoned for good."""
WARM_UP_DAYS = 1


@dataclass(frozen=True, slots=True)
class Size:
    """How many draws of how many integrations, for how many days that count."""

    draws: int
    integrations: int
    days: int


TRAINING = Size(draws=20, integrations=16, days=14)


def retry_world(
    size: Size, first_seed: int, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> RetryWorld:
    """Return the failed calls of worlds whose parameters are drawn from their ranges, each by its own seed."""
    seeds = range(first_seed, first_seed + size.draws)
    draws = [standard_draw(seed, size.integrations, draw_parameters(SyncParameters, seed)) for seed in seeds]
    world = SyncWorld(draws, start=START, days=WARM_UP_DAYS + size.days + SETTLING_DAYS)
    return RetryWorld(record(world, progress=progress), [draw_parameters(RetryParameters, seed) for seed in seeds])


def counted(world: RetryWorld) -> Bools:
    """Say which calls count: neither those of the first day nor those of the last."""
    until = world.recorded.world.ticks - SETTLING_DAYS * TICKS_PER_DAY
    tick = world.calls.tick
    chosen: Bools = (tick >= WARM_UP_DAYS * TICKS_PER_DAY) & (tick < until)
    return chosen


def fit_on_twin(size: Size, *, seed: int = 1) -> tuple[RetryPredictor, int]:
    """Fit the retry model on logged retries of worlds that are not asked; also return how many retries these were."""
    world = retry_world(size, FIRST_TRAINING_SEED)
    log = play(world, Explorer(world), horizon_hours=EXPLORED_HOURS).log
    return fit(feature_rows(world, log), seed=seed), len(log)
