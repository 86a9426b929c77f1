"""Logistic regression on the features: long-tailed ones by their logarithms, gaps filled with the median and told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from crewflow_assets.arrays import AnyFloats, Singles

MOST_ROWS = 200_000
"""Drawn at random; more change nothing but the time it takes."""
STRENGTH, MOST_STEPS = 0.01, 300
ARRAYS = ("lowest", "highest", "fill", "weights", "gaps", "usual")


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """A linear model of the log-odds, one element a feature.

    Attributes:
        lowest: The feature's least logarithm in training; where a line is drawn on beyond what was seen, it errs.
        highest: Its greatest.
        fill: What stands for a gap: the median of the feature's logarithm.
        weights: What a unit of the logarithm adds.
        gaps: What it adds that the value is not known.
        usual: What the feature adds on average over the training rows, so that a contribution is 0 on average.
        intercept: Log-odds of the average.
    """

    lowest: AnyFloats
    highest: AnyFloats
    fill: AnyFloats
    weights: AnyFloats
    gaps: AnyFloats
    usual: AnyFloats
    intercept: float

    def log_odds(self, rows: Singles) -> AnyFloats:
        """Return log-odds of failure for rows of its features, shape (n,)."""
        return np.asarray(self.contributions(rows).sum(axis=1) + self.intercept)

    def contributions(self, rows: Singles) -> AnyFloats:
        """Return what each feature adds to the log-odds of the average, exactly, shape (n, features)."""
        values = np.clip(logarithms(rows), self.lowest, self.highest)
        missing = np.isnan(values)
        return np.where(missing, self.fill, values) * self.weights + missing * self.gaps - self.usual

    def as_json(self) -> dict[str, Any]:
        """Return it as lists of numbers."""
        return {name: getattr(self, name).tolist() for name in ARRAYS} | {"intercept": self.intercept}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``as_json`` returned."""
        arrays = {name: np.asarray(content[name], float) for name in ARRAYS}
        return cls(**arrays, intercept=float(content["intercept"]))


def fit_regression(rows: Singles, failed: AnyFloats, *, seed: int) -> Regression:
    """Fit with an L2 penalty on standardised logarithms.

    Args:
        rows: Shape (n, features), NaN where something is not known.
        failed: 1 where the sync failed; both outcomes must occur.
        seed: Draws the rows, where there are more than 200,000.
    """
    from sklearn.linear_model import LogisticRegression

    if len(rows) > MOST_ROWS:
        chosen = np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]
        rows, failed = rows[chosen], failed[chosen]
    values = logarithms(rows)
    missing = np.isnan(values)
    columns = zip(values.T, missing.T, strict=True)
    known = [np.zeros(1) if gap.all() else column[~gap] for column, gap in columns]
    lowest, highest, fill = (np.array([of(column) for column in known]) for of in (np.min, np.max, np.median))
    terms = np.hstack([np.where(missing, fill, values), missing])
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    varies = spread > 1e-9
    standard = (terms[:, varies] - mean[varies]) / spread[varies]
    found = LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS).fit(standard, failed)
    slopes = np.zeros(len(mean))
    slopes[varies] = found.coef_[0] / spread[varies]
    weights, gaps = np.split(slopes, 2)
    usual = np.add(*np.split(slopes * mean, 2))
    return Regression(lowest, highest, fill, weights, gaps, usual, float(found.intercept_[0]))


def logarithms(rows: Singles) -> AnyFloats:
    """Return signed logarithms of one plus the size."""
    values = rows.astype(float)
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
