"""Who works in a company, where, and by which rules its hours are paid; rules may be turned round once."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np

from crewflow_assets.twin.randomness import Randomness, chance, pick
from crewflow_assets.twin.timecards.parameters import TimecardParameters

CREW = 5
SHIFTS = (8.0, 8.0, 8.0, 9.0, 10.0)
FEWEST = 4
RULES: tuple["Rule", ...] = ("rounded_stands", "lunch_stands")

Rule = Literal["rounded_stands", "lunch_stands"]


@dataclass(frozen=True, slots=True)
class Employer:
    """A company whose timecards are simulated: ``workers`` of it, from the day ``since`` on."""

    company_id: str
    system: str
    workers: int
    since: date


@dataclass(frozen=True, slots=True)
class Rules:
    """How a company pays. ``turned`` is the rule that is turned round on ``turned_on``, if one is."""

    clocked: bool
    rounds: bool
    deducts_lunch: bool
    stands: dict[Rule, bool]
    turned: Rule | None
    turned_on: date

    def holds(self, rule: Rule, day: date) -> bool:
        """Say whether a rule holds on a day."""
        return self.stands[rule] ^ (rule == self.turned and day >= self.turned_on)


@dataclass(frozen=True, slots=True)
class Worker:
    """Someone whose hours are recorded."""

    id: str
    crew: int
    code: str


def draw_rules(randomness: Randomness, employer: Employer, end: date, parameters: TimecardParameters) -> Rules:
    """Return the rules of a company; what is turned round is so in the middle half of its history."""
    rng = randomness.generator(employer.company_id, "pay rules")
    clocked = chance(rng, parameters.clocked_share)
    rounds, deducts = chance(rng, parameters.rounding_share), chance(rng, parameters.lunch_share)
    stands: dict[Rule, bool] = {
        "rounded_stands": chance(rng, parameters.rounded_stands),
        "lunch_stands": chance(rng, parameters.lunch_stands),
    }
    turned = pick(rng, RULES) if chance(rng, parameters.changes_rule) else None
    span = max(0, (end - employer.since).days)
    return Rules(
        clocked, rounds, deducts, stands, turned, employer.since + timedelta(days=span * (0.25 + 0.5 * rng.random()))
    )


def draw_workers(rng: np.random.Generator, employer: Employer) -> list[Worker]:
    """Return the workers, in crews of about five; each has a cost code that is usually his."""
    codes = [f"{division:02d}-{100 + 10 * int(rng.random() * 9)}" for division in (1, 3, 6, 9, 16)]
    return [
        Worker(f"w-{employer.company_id.removeprefix('c-')}-{number}", number // CREW, pick(rng, codes))
        for number in range(max(FEWEST, employer.workers))
    ]


def project_of(employer: Employer, crew: int, day: date) -> str:
    """Return the project that a crew is on: a new one every ten weeks or so."""
    return f"p-{employer.company_id.removeprefix('c-')}-{crew}-{((day - employer.since).days + 17 * crew) // 70}"
