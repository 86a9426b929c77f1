"""How the two sides come to hold different values of one timecard, and what is right then."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from crewflow_assets.twin.randomness import chance, pick
from crewflow_assets.twin.timecards.crews import Rules
from crewflow_assets.twin.timecards.parameters import TimecardParameters

Choice = Literal["use_crewflow", "use_external", "manual"]
Mechanism = Literal[
    "late edit by the foreman",
    "late edit by the bookkeeper",
    "overtime adjusted",
    "rounding",
    "lunch",
    "double entry",
    "recoded by the manager",
    "recoded by the bookkeeper",
]
WRONG_BY = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, -4.0)
QUARTER, LUNCH = 0.25, 0.5


@dataclass(frozen=True, slots=True)
class Day:
    """What a worker truly did on a day, and what was first entered in CrewFlow and synced."""

    day: date
    hours: float
    entered: float
    code: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two values of one card, who edited which last, and what is right (``usual``: by the company's habit)."""

    mechanism: Mechanism
    conflict_type: str
    crewflow: float | str
    external: float | str | None
    editor: Literal["foreman", "bookkeeper", "project_manager", "system", "worker"]
    edited: Literal["crewflow", "external"]
    right: Choice
    usual: Choice
    true_value: float | str | None


def differences(
    rng: np.random.Generator, work: Day, rules: Rules, parameters: TimecardParameters
) -> Iterator[Difference]:
    """Yield what comes to differ about a card: nothing on most days."""
    draws = rng.random(6)
    if work.entered != work.hours and draws[0] < parameters.found_late:
        yield _late_edit(rng, work, parameters)
    elif draws[1] < parameters.adjusted:
        yield _adjusted(rng, work, parameters)
    elif rules.clocked and rules.rounds and draws[2] < parameters.rounding_seen:
        yield from _rounded(work, rules)
    elif rules.deducts_lunch and draws[3] < parameters.lunch_seen and work.entered > 5:
        yield _lunch(rng, work, rules, parameters)
    if draws[4] < parameters.double_entry:
        yield _double(rng, work, parameters)
    if draws[5] < parameters.recoded:
        yield _recoded(rng, work, parameters)


def _late_edit(rng: np.random.Generator, work: Day, parameters: TimecardParameters) -> Difference:
    foreman = chance(rng, parameters.foreman_finds)
    right = chance(rng, parameters.foreman_right if foreman else parameters.bookkeeper_right)
    corrected = work.hours if right else _other(rng, work.hours, but=work.entered)
    if foreman:
        return Difference(
            "late edit by the foreman",
            "hours_mismatch",
            corrected,
            work.entered,
            "foreman",
            "crewflow",
            "use_crewflow" if right else "manual",
            "use_crewflow",
            work.hours,
        )
    return Difference(
        "late edit by the bookkeeper",
        "hours_mismatch",
        work.entered,
        corrected,
        "bookkeeper",
        "external",
        "use_external" if right else "manual",
        "use_external",
        work.hours,
    )


def _adjusted(rng: np.random.Generator, work: Day, parameters: TimecardParameters) -> Difference:
    right = chance(rng, parameters.adjusted_right)
    changed = _other(rng, work.entered, but=work.entered)
    return Difference(
        "overtime adjusted",
        "hours_mismatch",
        work.entered,
        changed,
        "bookkeeper",
        "external",
        "use_external" if right else "use_crewflow",
        "use_crewflow",
        changed if right else work.hours,
    )


def _rounded(work: Day, rules: Rules) -> Iterator[Difference]:
    rounded = round(work.entered / QUARTER) * QUARTER
    if rounded == work.entered:
        return
    right: Choice = "use_external" if rules.holds("rounded_stands", work.day) else "use_crewflow"
    value = rounded if right == "use_external" else work.entered
    yield Difference("rounding", "hours_mismatch", work.entered, rounded, "system", "external", right, right, value)


def _lunch(rng: np.random.Generator, work: Day, rules: Rules, parameters: TimecardParameters) -> Difference:
    usual: Choice = "use_external" if rules.holds("lunch_stands", work.day) else "use_crewflow"
    through = chance(rng, parameters.worked_through)
    right: Choice = "use_crewflow" if through else usual
    net = round(work.entered - LUNCH, 2)
    value = net if right == "use_external" else work.entered
    return Difference("lunch", "hours_mismatch", work.entered, net, "system", "external", right, usual, value)


def _double(rng: np.random.Generator, work: Day, parameters: TimecardParameters) -> Difference:
    split = chance(rng, parameters.double_is_split)
    other = _other(rng, work.entered, but=-1.0) if split else work.entered
    return Difference(
        "double entry",
        "duplicate",
        work.entered,
        min(other, 4.0) if split else other,
        "bookkeeper",
        "external",
        "manual" if split else "use_crewflow",
        "use_crewflow",
        None if split else work.entered,
    )


def _recoded(rng: np.random.Generator, work: Day, parameters: TimecardParameters) -> Difference:
    manager, right = chance(rng, parameters.manager_recodes), chance(rng, parameters.recoded_right)
    new = pick(rng, [code for code in work.codes if code != work.code])
    if manager:
        return Difference(
            "recoded by the manager",
            "cost_code_changed",
            new,
            work.code,
            "project_manager",
            "crewflow",
            "use_crewflow" if right else "use_external",
            "use_crewflow",
            new if right else work.code,
        )
    return Difference(
        "recoded by the bookkeeper",
        "cost_code_changed",
        work.code,
        new,
        "bookkeeper",
        "external",
        "use_external" if right else "use_crewflow",
        "use_crewflow",
        new if right else work.code,
    )


def _other(rng: np.random.Generator, hours: float, *, but: float) -> float:
    """Return other hours that someone might hold true."""
    return pick(
        rng, [v for v in (round(min(16, max(0.5, hours + by)), 2) for by in WRONG_BY) if v not in (hours, but)]
    )
