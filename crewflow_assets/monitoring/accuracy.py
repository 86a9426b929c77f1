"""How right a model is in production: from outcomes alone, weighted so that automation does not flatter it.

Predictions nobody looked at are no outcome. Automatic decisions are represented by the share of them that was
withheld and decided blind, each for 1 / propensity; those that someone chose to review are counted and not averaged,
unless there is nothing else, since people look at what seems wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.arrays import Floats, Objects
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import cluster_mean, or_none
from crewflow_assets.monitoring.hook import Logged
from crewflow_assets.monitoring.outcomes import Outcome
from crewflow_assets.spec import Figure

if TYPE_CHECKING:
    import pandas as pd


WEEK = timedelta(days=7)
FEWEST_FOR_ECE = 50
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


def accuracy(found: Sequence[Outcome], predictions: int, *, numbers: bool = False) -> Accuracy:
    """Return how right predictions were, with 95 % intervals by company.

    Args:
        found: The outcomes that are known.
        predictions: How many predictions they are of.
        numbers: The model says numbers, of which there is no calibration error.
    """
    reviewed = [one for one in found if one.basis == "reviewed"]
    counted = [one for one in found if one.weight > 0]
    only_reviews = not counted and bool(reviewed)
    if only_reviews:
        counted = reviewed
    weights = np.array([1.0 if only_reviews else one.weight for one in counted])
    clusters = np.array([one.company_id or NOWHERE for one in counted], object)
    right = np.array([one.right for one in counted], float)
    told = np.array([one.said is not None for one in counted], bool)
    said = np.array([one.said for one in counted if one.said is not None], float)
    actual = np.array([one.actual for one in counted if one.said is not None], float)
    ece = None
    if not numbers and len(said) >= FEWEST_FOR_ECE:
        ece = weighted_calibration_error(said, actual, weights[told])
    return Accuracy(
        predictions=predictions,
        known=len(found),
        reviewed=len(reviewed),
        reviewed_right=sum(one.right for one in reviewed),
        basis=", ".join(sorted({one.basis for one in counted})) or "nothing",
        right=_figure("right", right, weights, clusters),
        brier=_figure("squared_error", (said - actual) ** 2, weights[told], clusters[told]),
        ece=Figure(name="ece", value=ece, n=len(said)),
    )


def weighted_calibration_error(said: Floats, actual: Floats, weights: Floats) -> float:
    """Return the calibration error of rows that stand for several others each, which are repeated for it."""
    counts = np.maximum(np.rint(weights), 1).astype(int)
    return expected_calibration_error(np.repeat(said, counts), np.repeat(actual, counts))


def _figure(name: str, values: Floats, weights: Floats, clusters: Objects) -> Figure:
    if not len(values):
        return Figure(name=name, value=None, n=0)
    found = cluster_mean(values, clusters, weights=weights)
    return Figure(name=name, value=found.value, low=or_none(found.low), high=or_none(found.high), n=len(values))


def monday(moment: datetime) -> date:
    """Return the day on which the moment's week began (UTC)."""
    day = moment.date()
    return day - timedelta(days=day.weekday())


Named = Callable[[Logged | Outcome], str]

GROUPS: Mapping[str, Named] = {
    "week": lambda one: monday(one.created_at).isoformat(),
    "version": lambda one: one.model_version,
    "variant": lambda one: one.variant,
    "version, variant": lambda one: f"{one.model_version}, {one.variant}",
}
"""Ways to part predictions, and the name of the part that one falls into."""


def by(
    name: str, logged: Sequence[Logged], found: Sequence[Outcome], *, numbers: bool = False
) -> dict[str, Accuracy]:
    """Return the accuracy of each part of the predictions, in the order of their names."""
    part_of = GROUPS[name]
    predictions: dict[str, int] = {}
    for one in logged:
        predictions[part_of(one)] = predictions.get(part_of(one), 0) + 1
    parts: dict[str, list[Outcome]] = {part: [] for part in sorted(predictions)}
    for known in found:
        parts[part_of(known)].append(known)
    return {part: accuracy(inside, predictions[part], numbers=numbers) for part, inside in parts.items()}


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
