"""How right a model is in production: from outcomes alone, weighted so that automation does not flatter it.

Predictions nobody looked at are no outcome. Automatic decisions are represented by the share of them that was
withheld and decided blind, each for 1 / propensity; those that someone chose to review are counted and not averaged,
unless there is nothing else, since people look at what seems wrong.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.arrays import Floats
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import cluster_mean, or_none
from crewflow_assets.monitoring.hook import Logged
from crewflow_assets.monitoring.outcomes import Outcome
from crewflow_assets.spec import Figure

if TYPE_CHECKING:
    import pandas as pd


WEEK = timedelta(days=7)
FEWEST_FOR_ECE = 50
PLACES = 4
"""Decimals of a probability that calibration tells apart."""
NOWHERE = "-"
"""The cluster of predictions that name no company."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What outcomes say of some predictions; figures without value where nothing is known.

    ``coverage`` is the share of the predictions whose outcome is known, ``basis`` how it came to be known.
    """

    predictions: int
    known: int
    reviewed: int
    reviewed_right: int
    basis: str
    right: Figure
    brier: Figure
    """The mean squared error of the probability that was said; of models that say numbers, of the number."""
    ece: Figure

    @property
    def coverage(self) -> float:
        """The share of the predictions whose outcome is known."""
        return self.known / self.predictions if self.predictions else 0.0


class _Sums:
    """Outcomes added up: by company for means and their intervals, and by what was said for calibration."""

    def __init__(self) -> None:
        self.count = self.told = 0
        self.bases: set[str] = set()
        self.right: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        """Of each company, the weight and the weighted sum."""
        self.squares: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.said: dict[float, list[float]] = defaultdict(lambda: [0.0, 0.0])
        """Of each probability, how often it was said and how often it happened; a row of weight 20 is 20 rows."""

    def add(self, one: Outcome, weight: float, *, numbers: bool) -> None:
        company = one.company_id or NOWHERE
        self.count += 1
        self.bases.add(one.basis)
        _add(self.right[company], weight, float(one.right))
        if one.said is None:
            return
        self.told += 1
        _add(self.squares[company], weight, (one.said - one.actual) ** 2)
        if not numbers:
            _add(self.said[round(one.said, PLACES)], max(round(weight), 1), one.actual)

    def calibration(self) -> tuple[Floats, Floats, Floats]:
        """Return what was said, the share that happened, and the number of rows."""
        rows, happened = np.array(list(self.said.values()), float).reshape(-1, 2).T
        return np.array(list(self.said), float), happened / rows, rows


def _add(sums: list[float], weight: float, value: float) -> None:
    sums[0] += weight
    sums[1] += weight * value


class Tally:
    """Predictions and their outcomes, added up one after the other: the outcomes themselves are not kept.

    Args:
        numbers: The model says numbers, of which there is no calibration error.
    """

    def __init__(self, *, numbers: bool = False) -> None:
        self.predictions = 0
        """How many predictions there are, whether or not their outcome is known."""
        self._numbers = numbers
        self._known = self._reviewed_right = 0
        self._counted, self._reviewed = _Sums(), _Sums()

    def add(self, one: Outcome) -> None:
        """Add an outcome."""
        self._known += 1
        if one.weight > 0:
            self._counted.add(one, one.weight, numbers=self._numbers)
        if one.basis == "reviewed":
            self._reviewed.add(one, 1.0, numbers=self._numbers)
            self._reviewed_right += one.right

    def accuracy(self) -> Accuracy:
        """Return how right the predictions were, with 95 % intervals by company."""
        sums = self._counted if self._counted.count else self._reviewed
        ece = None
        if not self._numbers and sums.told >= FEWEST_FOR_ECE:
            said, share, rows = sums.calibration()
            ece = expected_calibration_error(said, share, counts=rows)
        return Accuracy(
            predictions=self.predictions,
            known=self._known,
            reviewed=self._reviewed.count,
            reviewed_right=self._reviewed_right,
            basis=", ".join(sorted(sums.bases)) or "nothing",
            right=_figure("right", sums.right, sums.count),
            brier=_figure("squared_error", sums.squares, sums.told),
            ece=Figure(name="ece", value=ece, n=sums.told),
        )

    @property
    def told(self) -> int:
        """How many outcomes of weight are of predictions that said a probability, or a number."""
        return self._counted.told

    def calibration(self) -> tuple[Floats, Floats, Floats]:
        """Return each probability that was said, the share of it that happened, and the rows it stands for."""
        return self._counted.calibration()


def _figure(name: str, sums: Mapping[str, Sequence[float]], n: int) -> Figure:
    if not n:
        return Figure(name=name, value=None, n=0)
    weights, values = np.array(list(sums.values()), float).T
    found = cluster_mean(values / weights, np.array(list(sums), object), weights=weights)
    return Figure(name=name, value=found.value, low=or_none(found.low), high=or_none(found.high), n=n)


def monday(moment: datetime) -> date:
    """Return the day on which the moment's week began (UTC)."""
    day = moment.date()
    return day - timedelta(days=day.weekday())


GROUPS: Mapping[str, Callable[[Logged | Outcome], str]] = {
    "week": lambda one: monday(one.created_at).isoformat(),
    "version, variant": lambda one: f"{one.model_version}, {one.variant}",
}
"""Ways to part predictions, and the name of the part that one falls into."""


def add_to(tallies: Mapping[str, Tally], name: str, logged: Sequence[Logged], found: Sequence[Outcome]) -> None:
    """Add predictions and their outcomes to the tallies of the parts that they fall into, which make new ones.

    ``name`` is one of ``GROUPS``.
    """
    part_of = GROUPS[name]
    for one in logged:
        tallies[part_of(one)].predictions += 1
    for known in found:
        tallies[part_of(known)].add(known)


def as_table(parts: Mapping[str, Accuracy], name: str) -> "pd.DataFrame":
    """Return parts as rows: predictions, coverage, right with interval, squared error, ECE, reviews, basis."""
    import pandas as pd

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return pd.DataFrame(
        [
            {
                name: part,
                "predictions": one.predictions,
                "known": one.known,
                "coverage": rounded(one.coverage),
                "right": rounded(one.right.value),
                "low": rounded(one.right.low),
                "high": rounded(one.right.high),
                "squared_error": rounded(one.brier.value),
                "ece": rounded(one.ece.value),
                "reviewed": one.reviewed,
                "of these right": one.reviewed_right,
                "basis": one.basis,
            }
            for part, one in parts.items()
        ],
        columns=[
            *(name, "predictions", "known", "coverage", "right", "low", "high"),
            *("squared_error", "ece", "reviewed", "of these right", "basis"),
        ],
    )
