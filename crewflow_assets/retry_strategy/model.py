"""The retry model: P(a retry after a delay succeeds | what is known), by whichever of two ways does better.

Hazard and survival trees (``curves.py``) are both fitted without a fifth of the integrations at a time; the one whose
word on those is better (log loss of the outcome after the delay that was chosen) is kept, and calibrated on it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from crewflow_assets.arrays import Floats, Ints, Objects
from crewflow_assets.retry_strategy.curves import (
    MOST_ATTEMPTS,
    SCALES,
    Curve,
    Examples,
    Hazard,
    Survival,
    Table,
    load_curve,
)
from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS
from crewflow_assets.retry_strategy.features import COLUMN, CONTEXT, OPTIONAL, Rows
from crewflow_assets.retry_strategy.taxonomy import CLASSES
from crewflow_assets.spec import Predictor

FOLDS = 5
MOST_ROUNDS = 300
FEWEST_ROWS, FEWEST_ENTITIES = 200, 5
FILE = "retry.json"
LEAST, MOST = 1e-3, 1 - 1e-3
BLANKED = 0.25
"""Share of the training rows in which what a request may leave out is left out."""
ELAPSED: tuple[float, ...] = (0, 30, 120, 600, 1800, 7200, 21600, 86400)
"""Seconds since a call first failed, by which mean curves are told apart; each stands for the time up to the next."""
ROWS_PER_CLASS = 25
DIGITS = 4
"""Of the mean curves, so that their file stays small."""
LEAST_SLOPE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class RetryPredictor(Predictor):
    """The fitted model."""

    curve: Curve
    slope: float
    intercept: float
    """What becomes of the log-odds (Platt 1999); the slope is positive, so the curve goes on rising."""
    usual: Floats
    """Mean curve by class, attempts and time, shape (len(CLASSES), MOST_ATTEMPTS, len(ELAPSED), BUCKETS)."""
    compared: Mapping[str, float]
    """Log loss of each way on integrations that it was not fitted on."""

    def probability(self, context: Rows, seconds: Floats) -> Floats:
        """Return the probability that a retry succeeds after a delay a row, shape (n,)."""
        odds = logit(np.clip(self.curve.said(context, seconds), 1e-6, 1 - 1e-6))
        return np.asarray(np.clip(expit(self.slope * odds + self.intercept), LEAST, MOST))

    def curves(self, context: Rows) -> Floats:
        """Return the probability of success in each bucket of delays, never falling, shape (n, BUCKETS)."""
        n = len(context)
        said = self.probability(np.repeat(context, BUCKETS, axis=0), np.tile(DELAYS, n)).reshape(n, BUCKETS)
        return np.asarray(np.maximum.accumulate(said, axis=1))

    def save(self, folder: Path) -> None:
        """Write trees as UBJ and the rest as JSON."""
        content = {
            "kind": self.curve.kind,
            "curve": self.curve.save(folder),
            "slope": self.slope,
            "intercept": self.intercept,
            "usual": self.usual.tolist(),
            "compared": dict(self.compared),
        }
        (folder / FILE).write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            OutdatedModelError: it was fitted on other features than are built now; train anew.
        """
        content = json.loads((folder / FILE).read_text())
        curve = load_curve(folder, content)
        usual = np.array(content["usual"])
        return cls(curve, content["slope"], content["intercept"], usual, content["compared"])


def state_of(seconds: Floats) -> Ints:
    """Return the place in ``ELAPSED`` of times since a first failure, in the shape given."""
    return np.maximum(np.searchsorted(ELAPSED, seconds, side="right") - 1, 0)


def examples_of(table: pd.DataFrame) -> Examples:
    """Return rows of the feature table to learn from."""
    return Examples(
        context=table[list(CONTEXT)].to_numpy(np.float32),
        seconds=table["delay_seconds"].to_numpy(float),
        ok=table["label"].to_numpy(float),
        recovered_after=table["recovered_after"].to_numpy(float),
        recovered_by=table["recovered_by"].to_numpy(float),
    )


def fit(table: pd.DataFrame, *, seed: int, ways: tuple[str, ...] = ("hazard", "survival")) -> RetryPredictor:
    """Fit the ways, keep the better one, calibrate it on integrations that it did not see, and fit it on all.

    Args:
        table: Training rows of ``table.as_table``.
        seed: Of folds and subsamples.
        ways: Those to compare.

    Raises:
        ValueError: too few retries or integrations, or all ended alike.
    """
    entity = table["entity"].to_numpy(object)
    examples = examples_of(table)
    _require_enough(examples, entity)
    blanked = _blanked(examples, seed)
    fold = _folds(entity, seed)
    found = {}
    if "hazard" in ways:
        found["hazard"] = _outside(
            lambda e, held: Hazard.fit(e, rounds=MOST_ROUNDS, seed=seed, held_out=held), blanked, examples, fold
        )
    if "survival" in ways:
        tried = {
            scale: _outside(
                lambda e, held, scale=scale: Survival.fit(
                    e, rounds=MOST_ROUNDS, seed=seed, scale=scale, held_out=held
                ),
                blanked,
                examples,
                fold,
            )
            for scale in SCALES
        }
        scale = min(tried, key=lambda s: calibrated_loss(tried[s][0], examples.ok, fold))
        found["survival"] = tried[scale]
    compared = {name: calibrated_loss(said, examples.ok, fold) for name, (said, _) in found.items()}
    best = min(compared, key=compared.__getitem__)
    said, rounds = found[best]
    curve: Curve
    if best == "hazard":
        curve, _ = Hazard.fit(blanked, rounds=rounds, seed=seed)
    else:
        curve, _ = Survival.fit(blanked, rounds=rounds, seed=seed, scale=scale)
    return _finished(curve, *fit_line(said, examples.ok), examples, compared, seed)


def fit_table(table: pd.DataFrame, by: tuple[str, ...], *, seed: int) -> RetryPredictor:
    """Fit a table of shares: the named simple methods.

    Args:
        table: See ``fit``.
        by: Some of ``class``, ``attempts``, ``delay``, in this order.
        seed: Of the rows that the mean curves are drawn from.
    """
    examples = examples_of(table)
    return _finished(Table.fit(examples, by), 1.0, 0.0, examples, {}, seed)


def _require_enough(examples: Examples, entity: Objects) -> None:
    found = len(set(entity))
    if len(examples) < FEWEST_ROWS or found < FEWEST_ENTITIES:
        raise ValueError(
            f"{len(examples)} retries of {found} integrations are too few to learn from; it takes {FEWEST_ROWS} of "
            f"{FEWEST_ENTITIES}: post more retry_outcome events"
        )
    if examples.ok.min() == examples.ok.max():
        raise ValueError(
            f"all {len(examples)} retries {'succeeded' if examples.ok[0] else 'failed'}; post those that did not, too"
        )


def _blanked(examples: Examples, seed: int) -> Examples:
    """Leave out in some rows what a request may leave out, so that the trees know what to say without."""
    random = np.random.default_rng(seed)
    context = examples.context.copy()
    for group in OPTIONAL:
        chosen = random.random(len(examples)) < BLANKED
        for name in group:
            context[chosen, COLUMN[name]] = np.nan
    return Examples(context, examples.seconds, examples.ok, examples.recovered_after, examples.recovered_by)


def _folds(entity: Objects, seed: int) -> Ints:
    _, place = np.unique(entity.astype(str), return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(int(place.max()) + 1) % FOLDS
    return np.asarray(dealt[place], np.int64)


def _outside(fit_one: Any, blanked: Examples, examples: Examples, fold: Ints) -> tuple[Floats, int]:
    """Return what trees of the other folds say of each row, and the middle number of rounds."""
    said, rounds = np.empty(len(examples)), []
    for held in np.unique(fold):
        mine = fold == held
        curve, count = fit_one(blanked.only(~mine), blanked.only(mine))
        said[mine] = curve.said(examples.context[mine], examples.seconds[mine])
        rounds.append(count)
    return said, int(np.median(rounds))


def fit_line(said: Floats, ok: Floats) -> tuple[float, float]:
    """Return slope and intercept of the log-odds (Platt scaling); (1, 0) where the slope would not be positive."""
    from sklearn.linear_model import LogisticRegression

    if ok.min() == ok.max():
        return 1.0, 0.0
    odds = logit(np.clip(said, 1e-6, 1 - 1e-6))[:, None]
    line = LogisticRegression(C=1e6, max_iter=1000).fit(odds, ok)
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    return (slope, intercept) if slope > LEAST_SLOPE else (1.0, 0.0)


def calibrated_loss(said: Floats, ok: Floats, fold: Ints) -> float:
    """Return the log loss after calibration on the other folds."""
    p = np.empty(len(said))
    for held in np.unique(fold):
        mine = fold == held
        slope, intercept = fit_line(said[~mine], ok[~mine])
        p[mine] = expit(slope * logit(np.clip(said[mine], 1e-6, 1 - 1e-6)) + intercept)
    return log_loss(p, ok)


def log_loss(p: Floats, ok: Floats) -> float:
    """Return the mean negative log-likelihood; lower is better."""
    p = np.clip(p, LEAST, MOST)
    return float(-np.mean(np.where(ok == 1, np.log(p), np.log1p(-p))))


def _finished(
    curve: Curve, slope: float, intercept: float, examples: Examples, compared: Mapping[str, float], seed: int
) -> RetryPredictor:
    bare = RetryPredictor(curve, slope, intercept, np.zeros(0), compared)
    return RetryPredictor(curve, slope, intercept, _usual(bare, examples, seed), compared)


def _usual(predictor: RetryPredictor, examples: Examples, seed: int) -> Floats:
    """Return the mean curves: some rows of each class, as if they had so many attempts and so much time behind them.

    For a class that was never seen, rows of all classes stand as if they were of it.
    """
    random = np.random.default_rng(seed)
    kind = examples.context[:, : len(CLASSES)].argmax(axis=1)
    found = np.empty((len(CLASSES), MOST_ATTEMPTS, len(ELAPSED), BUCKETS))
    for place in range(len(CLASSES)):
        own = np.flatnonzero(kind == place)
        chosen = random.permutation(own if len(own) else len(kind))[:ROWS_PER_CLASS]
        rows = examples.context[chosen].copy()
        rows[:, : len(CLASSES)] = np.arange(len(CLASSES)) == place
        states = np.tile(rows, (MOST_ATTEMPTS * len(ELAPSED), 1))
        attempts, elapsed = np.meshgrid(np.arange(1, MOST_ATTEMPTS + 1), ELAPSED, indexing="ij")
        states[:, COLUMN["attempts"]] = np.repeat(attempts.ravel(), len(rows))
        states[:, COLUMN["since_first_failure"]] = np.repeat(elapsed.ravel(), len(rows))
        curves = predictor.curves(states).reshape(MOST_ATTEMPTS, len(ELAPSED), len(rows), BUCKETS)
        found[place] = curves.mean(axis=2)
    return np.round(found, DIGITS)
