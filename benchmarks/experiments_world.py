"""Simulated experiments: companies that differ, decide at their own rates and join over time, day by day."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints

MetricKind = Literal["share", "time"]

DAYS = 30
PART = 250
"""Experiments drawn at once: bounds memory."""
PRESENT_AT_START = 0.5
LAST_JOINS = 20
DECISIONS_A_DAY = 1.5
SPREAD_OF_RATES = 1.0
"""Standard deviation of the logarithm of companies' decisions a day: the busiest tenth makes a third of them."""
RIGHT = 0.6
CORRELATION = 0.15
"""Of two decisions of one company, in shares."""
COMPANY_SPREAD, DECISION_SPREAD = 0.5, 1.0
"""Standard deviations of log minutes between and within companies; within they are skewed as waiting times are."""
COMMON_DRIFT = 0.4
"""By which everyone's logit, or log time, moves up and down over a month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A kind of experiment."""

    metric: MetricKind
    companies: int
    treated: float = 0.5
    """Share of companies that get the treatment."""
    changing: bool = False
    """Whether companies' own levels are drawn anew each week, half of them."""
    effect: float = 0.0
    """Added to the share, or to the log time."""

    @property
    def label(self) -> str:
        """What is compared, in words."""
        return {"share": "share right", "time": "time"}[self.metric] + (
            ", companies that change" if self.changing else ""
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """Cumulative sums up to the end of each day, of shape (experiments, days, companies)."""

    treated: Bools
    """Of shape (experiments, companies)."""
    count: Floats
    total: Floats
    squares: Floats


NULLS = tuple(
    World(metric=metric, companies=companies, treated=treated)
    for metric in ("share", "time")
    for companies in (24, 60, 200)
    for treated in (0.5, 0.2)
    if companies * treated > 10
) + tuple(World(metric=metric, companies=60, changing=True) for metric in ("share", "time"))
EFFECTS: dict[MetricKind, tuple[float, ...]] = {"share": (0.02, 0.05, 0.1), "time": (-0.1, -0.2, -0.4)}
POWERS = {
    metric: tuple(
        World(metric=metric, companies=companies, effect=effect)
        for effect in effects
        for companies in (50, 100, 200, 400)
    )
    for metric, effects in EFFECTS.items()
}


def draw(world: World, experiments: int, *, seed: tuple[int, ...]) -> Drawn:
    """Draw experiments of a world."""
    random = np.random.default_rng(seed)
    shape = (experiments, DAYS, world.companies)
    treated = random.random((experiments, world.companies)) < world.treated
    rate = DECISIONS_A_DAY * np.exp(SPREAD_OF_RATES * random.standard_normal((experiments, 1, world.companies)))
    joins = np.where(
        random.random((experiments, 1, world.companies)) < PRESENT_AT_START,
        0,
        random.integers(1, LAST_JOINS, (experiments, 1, world.companies)),
    )
    day = np.arange(DAYS)[None, :, None]
    count = random.poisson(rate, shape) * (day >= joins)
    drift = COMMON_DRIFT * np.sin(2 * np.pi * (day / DAYS + random.random((experiments, 1, 1))))
    level = _levels(random, world, shape)
    if world.metric == "share":
        total, squares = _shares(random, world, count, level, drift, treated)
    else:
        total, squares = _times(random, world, count, level, drift, treated)
    return Drawn(treated, count.cumsum(1).astype(float), total.cumsum(1), squares.cumsum(1))


def _levels(random: np.random.Generator, world: World, shape: tuple[int, int, int]) -> Floats:
    """Return each company's own level a day, standard normal; what changes keeps half its variance for ever."""
    experiments, days, companies = shape
    lasting = random.standard_normal((experiments, 1, companies))
    if not world.changing:
        return lasting
    weekly = random.standard_normal((experiments, -(-days // 7), companies))
    return float(np.sqrt(0.5)) * (lasting + np.repeat(weekly, 7, axis=1)[:, :days])


def _shares(
    random: np.random.Generator,
    world: World,
    count: Ints,
    level: Floats,
    drift: Floats,
    treated: Bools,
) -> tuple[Floats, Floats]:
    """Return how many decisions were right, twice: the square of 1 is 1. Levels become shares with a Beta law."""
    from scipy import stats

    size = 1 / CORRELATION - 1
    grid = np.linspace(-5, 5, 2001)
    by_grid = stats.beta.ppf(stats.norm.cdf(grid), RIGHT * size, (1 - RIGHT) * size)
    own = np.interp(level, grid, by_grid)
    odds = np.log(np.clip(own, 1e-6, 1 - 1e-6) / (1 - np.clip(own, 1e-6, 1 - 1e-6))) + drift
    share = np.clip(1 / (1 + np.exp(-odds)) + world.effect * treated[:, None, :], 0, 1)
    right = random.binomial(count, share).astype(float)
    return right, right


def _times(
    random: np.random.Generator,
    world: World,
    count: Ints,
    level: Floats,
    drift: Floats,
    treated: Bools,
) -> tuple[Floats, Floats]:
    """Return sums of log times and of their squares; a decision's own part is a centred, skewed gamma sum."""
    middle = COMPANY_SPREAD * level + drift + world.effect * treated[:, None, :]
    noise = DECISION_SPREAD * (random.gamma(np.maximum(count, 1e-12)) - count)  # exponentials less their mean
    spread = DECISION_SPREAD**2 * count  # expected: only the test that takes decisions for independent uses it
    return middle * count + noise, middle**2 * count + 2 * middle * noise + spread


def treated_so_far(companies: int, share: float, experiments: int, *, seed: tuple[int, ...]) -> Ints:
    """Return how many companies are treated after each that joined, of shape (experiments, companies)."""
    random = np.random.default_rng(seed)
    return (random.random((experiments, companies)) < share).cumsum(1)
