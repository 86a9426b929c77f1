"""Calibration of failure probabilities, chosen and fitted on later time than the model was fitted on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, logit

from crewflow_assets.arrays import AnyFloats

Kind = Literal["none", "logistic", "isotonic"]
"""Isotonic lines are fitted no more: their steps tie ranks (.01 to .02 of PR-AUC). Saved versions have them."""

FEWEST_FAILURES = 10
SMALLEST = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What becomes of a probability: nothing, a logistic curve of its log-odds, or an isotonic line."""

    kind: Kind
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    """Logistic: ``x`` is (slope, intercept). Isotonic: the points between which the line runs."""

    def __call__(self, probability: AnyFloats) -> AnyFloats:
        """Return calibrated probabilities; never quite 0 or 1, which no history can prove."""
        if self.kind == "logistic":
            slope, intercept = self.x
            probability = expit(slope * logit(np.clip(probability, 1e-7, 1 - 1e-7)) + intercept)
        elif self.kind == "isotonic":
            probability = np.interp(probability, self.x, self.y)
        return np.clip(probability, SMALLEST, 1 - SMALLEST)

    @property
    def slope(self) -> float:
        """By how much it stretches log-odds; 1 where it does not do so alike everywhere."""
        return self.x[0] if self.kind == "logistic" else 1.0


def choose_calibration(probability: AnyFloats, failed: AnyFloats, micros: AnyFloats) -> Calibration:
    """Return a logistic calibration if it does better than none, by log loss, on later time than it was fitted on.

    It is then fitted again on all rows.
    """
    earlier = micros <= np.median(micros)
    if min(failed[earlier].sum(), failed[~earlier].sum()) < FEWEST_FAILURES:
        return Calibration("none")
    tried = fit_logistic(probability[earlier], failed[earlier])
    later = probability[~earlier], failed[~earlier]
    if log_loss(tried(later[0]), later[1]) < log_loss(Calibration("none")(later[0]), later[1]):
        return fit_logistic(probability, failed)
    return Calibration("none")


def fit_logistic(probability: AnyFloats, failed: AnyFloats) -> Calibration:
    """Fit a logistic curve of the log-odds (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    odds = logit(np.clip(probability, 1e-7, 1 - 1e-7))[:, None]
    line = LogisticRegression(C=1e6, max_iter=1000).fit(odds, failed)
    return Calibration("logistic", (float(line.coef_[0, 0]), float(line.intercept_[0])))


def log_loss(probability: AnyFloats, failed: AnyFloats) -> float:
    """Return the mean negative log-likelihood, a proper score: lower is better."""
    return float(-np.mean(np.where(failed == 1, np.log(probability), np.log1p(-probability))))
