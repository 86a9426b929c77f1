"""Simulated years of predictions in which nothing drifts, or something begins to, to count alarms in.

Companies differ in what they ask and in how right the model is with them; they join over the years and ask much in
their first weeks. Nothing here is taken from how drift is looked for.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crewflow_assets.arrays import Bools, Floats, Ints, Objects

Shift = Literal["none", "inputs", "predictions", "calibration"]

SYSTEMS = np.array(["quickbooks", "sage", "xero"], object)
INDUSTRIES = np.array(["electrical", "plumbing", "roofing", "concrete", "hvac", "painting"], object)
CATEGORIES = np.array([f"kind {n}" for n in range(12)], object)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a year of predictions is like; shares and standard deviations in the units of the columns.

    ``week_effect`` is the spread, from week to week, of what all companies have in common. A ``shift`` begins in
    ``shift_week`` and moves all companies by ``size`` standard deviations, or the rightness by ``size``.
    """

    name: str
    companies: int = 40
    joining_per_year: int = 20
    rows_per_week: float = 12.0
    onboarding_factor: float = 8.0
    company_effect: float = 0.7
    calibration_effect: float = 0.05
    week_effect: float = 0.0
    share_known: float = 0.5
    withheld_share: float = 0.05
    shift: Shift = "none"
    shift_week: int = 0
    size: float = 0.0


WORLDS = (
    World(name="companies alike from week to week"),
    World(name="weeks differ for all companies", week_effect=0.25),
    World(name="few companies, much onboarding", companies=14, joining_per_year=14, onboarding_factor=20.0),
)


def shifted(world: World, shift: Shift, size: float, week: int) -> World:
    """Return the world with something that begins to drift."""
    return replace(world, shift=shift, size=size, shift_week=week)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Predictions of some weeks; ``actual`` is NaN where no outcome is known."""

    companies: Objects
    weeks: Ints
    inputs: dict[str, NDArray[Any]]
    answers: dict[str, NDArray[Any]]
    said: Floats
    actual: Floats
    weights: Floats

    def only(self, chosen: Bools) -> "Rows":
        """Return the chosen rows."""
        return Rows(
            self.companies[chosen],
            self.weeks[chosen],
            {name: values[chosen] for name, values in self.inputs.items()},
            {name: values[chosen] for name, values in self.answers.items()},
            self.said[chosen],
            self.actual[chosen],
            self.weights[chosen],
        )


def simulate(world: World, weeks: int, seed: int) -> Rows:
    """Return all predictions of so many weeks."""
    random = np.random.default_rng([seed, weeks])
    count = world.companies + round(world.joining_per_year * weeks / 52)
    joins = np.r_[np.zeros(world.companies), np.sort(random.uniform(0, weeks, count - world.companies))]
    left = np.where(random.random(count) < 0.2, random.uniform(0, 2 * weeks, count), np.inf)
    busy = random.gamma(1.5, world.rows_per_week / 1.5, count)
    system, industry = random.integers(len(SYSTEMS), size=count), random.integers(len(INDUSTRIES), size=count)
    taste = random.dirichlet(np.full(len(CATEGORIES), 0.6), count)
    length, hour = random.normal(0, world.company_effect, count), random.normal(0, world.company_effect, count)
    ability, bias = random.normal(0, world.company_effect, count), random.normal(0, world.calibration_effect, count)
    common = random.normal(0, world.week_effect, (weeks, 3)) if world.week_effect else np.zeros((weeks, 3))
    company, week = [], []
    for at in range(weeks):
        present = (joins <= at) & (left > at)
        asked = busy * np.where((at - joins < 3) & (joins > 0), world.onboarding_factor, 1.0) * present
        number = random.negative_binomial(1.0, 1.0 / (1.0 + np.maximum(asked, 1e-9)))
        company.append(np.repeat(np.arange(count), number))
        week.append(np.full(number.sum(), at))
    who, when = np.concatenate(company), np.concatenate(week)
    late = when >= world.shift_week
    moved = {shift: world.size * late * (world.shift == shift) for shift in ("inputs", "predictions", "calibration")}
    n = len(who)
    kind = (taste[who].cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(max=len(CATEGORIES) - 1)
    name_length = length[who] + random.normal(0, 1, n) + common[when, 0] + moved["inputs"]
    latency = hour[who] + random.normal(0, 1, n) + common[when, 1]
    logit = 0.6 + ability[who] + 0.4 * name_length + random.normal(0, 1, n) + common[when, 2] + moved["predictions"]
    said = 1 / (1 + np.exp(-logit))
    truth = np.clip(said + bias[who] - moved["calibration"], 0.01, 0.99)
    actual = np.where(random.random(n) < truth, 1.0, 0.0)
    automatic = said > 0.9
    withheld = automatic & (random.random(n) < world.withheld_share)
    known = withheld | (~automatic & (random.random(n) < world.share_known))
    return Rows(
        companies=np.array([f"c-{number:03d}" for number in range(count)], object)[who],
        weeks=when.astype(np.int64),
        inputs={
            "system": SYSTEMS[system[who]],
            "industry": INDUSTRIES[industry[who]],
            "kind": CATEGORIES[kind],
            "name_length": name_length,
            "latency": np.where(random.random(n) < 0.1, np.nan, latency),
            "weekday": random.integers(5, size=n).astype(float),
        },
        answers={"said": said, "automatic": np.where(automatic, "yes", "no").astype(object)},
        said=said,
        actual=np.where(known, actual, np.nan),
        weights=np.where(withheld, 1 / world.withheld_share, 1.0),
    )
