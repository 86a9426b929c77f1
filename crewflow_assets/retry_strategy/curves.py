"""Ways to say how probable it is that a retry succeeds after a delay: hazard trees, survival trees, a table.

All three never fall as the delay grows: what has recovered by then has recovered by any later moment.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.retry_strategy.delays import SHORTEST, bucket_of
from crewflow_assets.retry_strategy.features import COLUMN, CONTEXT, DELAY, FEATURES, Rows, with_delay
from crewflow_assets.retry_strategy.taxonomy import CLASSES

if TYPE_CHECKING:
    import xgboost

MOST_ATTEMPTS = 6
"""Attempts that are told apart; later ones count as these."""
HAZARD: dict[str, Any] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "eta": 0.06,
    "max_depth": 4,
    "min_child_weight": 8,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "monotone_constraints": "(" + ",".join("1" if name in DELAY else "0" for name in FEATURES) + ")",
    "nthread": 1,
}
SURVIVAL: dict[str, Any] = {
    "objective": "survival:aft",
    "eval_metric": "aft-nloglik",
    "aft_loss_distribution": "logistic",
    "tree_method": "hist",
    "eta": 0.06,
    "max_depth": 4,
    "min_child_weight": 8,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "nthread": 1,
}
SCALES = (1.0, 2.0)
"""Spreads of the logarithm of the time to recovery, of which the better is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Retries to learn from, one element each; see ``table.as_table``."""

    context: Rows
    seconds: Floats
    ok: Floats
    recovered_after: Floats
    recovered_by: Floats

    def __len__(self) -> int:
        return len(self.ok)

    def only(self, chosen: NDArray[Any]) -> "Examples":
        """Return the chosen ones."""
        return Examples(
            self.context[chosen],
            self.seconds[chosen],
            self.ok[chosen],
            self.recovered_after[chosen],
            self.recovered_by[chosen],
        )


class Curve(ABC):
    """A fitted way, not calibrated yet."""

    kind: str

    @abstractmethod
    def said(self, context: Rows, seconds: Floats) -> Floats:
        """Return the probability of success after a delay a row, shape (n,)."""

    @abstractmethod
    def save(self, folder: Path) -> dict[str, Any]:
        """Write the trees, if there are any, and return the rest as JSON."""


@dataclass(frozen=True, slots=True, eq=False)
class Hazard(Curve):
    """Discrete-time hazard: the chance that trouble ends between failure and retry.

    Each retry is one period of a call's trouble, of the length of its delay, at the end of which it is seen whether
    it is over; earlier failed retries of the call are earlier periods. So the model is a binary one
    on what was known at the period's beginning and on its length (Singer & Willett 1993; Tutz & Schmid 2016, ch. 3),
    here with boosted trees that rise with the delay (``monotone_constraints``).
    """

    booster: "xgboost.Booster"
    kind = "hazard"

    def said(self, context: Rows, seconds: Floats) -> Floats:
        """Return the probability of success after a delay a row, shape (n,)."""
        return np.asarray(self.booster.inplace_predict(with_delay(context, seconds)), float)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the trees as UBJ."""
        self.booster.save_model(folder / "hazard.ubj")
        return {"features": FEATURES}

    @classmethod
    def fit(
        cls, examples: Examples, *, rounds: int, seed: int, held_out: Examples | None = None
    ) -> "tuple[Hazard, int]":
        """Fit; with held-out examples the rounds stop when these do not gain any more.

        Returns:
            The curve and the number of rounds it has.
        """
        import xgboost

        data = xgboost.QuantileDMatrix(with_delay(examples.context, examples.seconds), examples.ok)
        evals = []
        if held_out is not None:
            evals = [(xgboost.DMatrix(with_delay(held_out.context, held_out.seconds), held_out.ok), "held_out")]
        booster, rounds = _trained(HAZARD | {"seed": seed}, data, rounds, evals)
        return cls(booster), rounds


@dataclass(frozen=True, slots=True, eq=False)
class Survival(Curve):
    """Accelerated failure time: the logarithm of the time to recovery is a tree's word plus logistic noise.

    What is known of the time is an interval: over before a retry that succeeded, and not before the last that
    failed (Barnwal, Cho & Hocking 2022, Survival Regression with Accelerated Failure Time Model in XGBoost).
    """

    booster: "xgboost.Booster"
    scale: float
    kind = "survival"

    def said(self, context: Rows, seconds: Floats) -> Floats:
        """Return the probability of success after a delay a row, shape (n,)."""
        usual = np.maximum(np.asarray(self.booster.inplace_predict(context), float), 1e-3)
        return np.asarray(expit((np.log(np.maximum(seconds, 1e-3)) - np.log(usual)) / self.scale))

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the trees as UBJ."""
        self.booster.save_model(folder / "survival.ubj")
        return {"features": CONTEXT, "scale": self.scale}

    @classmethod
    def fit(
        cls, examples: Examples, *, rounds: int, seed: int, scale: float, held_out: Examples | None = None
    ) -> "tuple[Survival, int]":
        """Fit; see ``Hazard.fit``."""
        # begun anywhere near the delays, or the first steps are too long to come back from
        usual = float(np.exp(np.mean(np.log(np.maximum(examples.seconds, SHORTEST)))))
        settings = SURVIVAL | {"seed": seed, "aft_loss_distribution_scale": scale, "base_score": usual}
        evals = [] if held_out is None else [(_bounded(held_out), "held_out")]
        booster, rounds = _trained(settings, _bounded(examples), rounds, evals)
        return cls(booster, scale), rounds


@dataclass(frozen=True, slots=True, eq=False)
class Table(Curve):
    """Shares of success by some of class, attempts and delay, drawn to the coarser share where rows are few."""

    by: tuple[str, ...]
    overall: float
    shares: Mapping[str, float]
    kind = "table"
    WEIGHT = 5.0
    """Rows that the coarser share counts as."""

    def said(self, context: Rows, seconds: Floats) -> Floats:
        """Return the share of each row's cell, or of the next coarser one that has rows."""
        cell = _cells(context, seconds)
        _, first, cells = np.unique(cell, return_index=True, return_inverse=True)
        context, seconds = context[first], seconds[first]
        found = np.full(len(first), self.overall)
        for depth in range(1, len(self.by) + 1):
            keys = _keys(self.by[:depth], context, seconds)
            found = np.array([self.shares.get(key, before) for key, before in zip(keys, found, strict=True)])
        return found[cells]

    def save(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        """Return all of it."""
        return {"by": self.by, "overall": self.overall, "shares": dict(self.shares)}

    @classmethod
    def fit(cls, examples: Examples, by: Sequence[str]) -> "Table":
        """Count, step by step; along the delay the shares are made to rise (isotonic regression)."""
        overall = float(examples.ok.mean())
        shares: dict[str, float] = {}
        for depth in range(1, len(by) + 1):
            coarser = _keys(by[: depth - 1], examples.context, examples.seconds)
            keys = np.array(_keys(by[:depth], examples.context, examples.seconds), object)
            parent = dict(zip(keys, coarser, strict=True))
            counted = {}
            for key in parent:
                ok = examples.ok[keys == key]
                prior = shares.get(parent[key], overall)
                counted[key] = ((ok.sum() + cls.WEIGHT * prior) / (len(ok) + cls.WEIGHT), len(ok))
            shares |= _rising(counted) if by[depth - 1] == "delay" else {k: float(p) for k, (p, _) in counted.items()}
        return cls(tuple(by), overall, shares)


def _cells(context: Rows, seconds: Floats) -> Ints:
    """Return a number for class, attempts and bucket together."""
    kind = context[:, : len(CLASSES)].argmax(axis=1)
    attempts = np.minimum(context[:, COLUMN["attempts"]], MOST_ATTEMPTS).astype(np.int64)
    return np.asarray((kind * (MOST_ATTEMPTS + 1) + attempts) * 100 + bucket_of(seconds))


def _keys(by: Sequence[str], context: Rows, seconds: Floats) -> list[str]:
    parts = {
        "class": np.array(CLASSES)[context[:, : len(CLASSES)].argmax(axis=1)],
        "attempts": np.minimum(context[:, COLUMN["attempts"]], MOST_ATTEMPTS).astype(int).astype(str),
        "delay": np.char.zfill(bucket_of(seconds).astype(str), 2),
    }
    return ["/".join(row) for row in zip(*(parts[name] for name in by), strict=True)] if by else [""] * len(context)


def _rising(counted: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Make shares rise along the last part of their keys, the delay."""
    from sklearn.isotonic import IsotonicRegression

    groups: dict[str, list[str]] = {}
    for key in sorted(counted):
        groups.setdefault(key.rpartition("/")[0], []).append(key)
    found: dict[str, float] = {}
    for keys in groups.values():
        shares, rows = zip(*(counted[key] for key in keys), strict=True)
        rising = IsotonicRegression().fit_transform(np.arange(len(keys)), shares, sample_weight=rows)
        found |= dict(zip(keys, map(float, rising), strict=True))
    return found


def _bounded(examples: Examples) -> "xgboost.DMatrix":
    import xgboost

    matrix = xgboost.DMatrix(examples.context)
    matrix.set_float_info("label_lower_bound", examples.recovered_after.astype(np.float32))
    matrix.set_float_info("label_upper_bound", examples.recovered_by.astype(np.float32))
    return matrix


def _trained(
    settings: dict[str, Any], data: Any, rounds: int, evals: list[tuple["xgboost.DMatrix", str]]
) -> "tuple[xgboost.Booster, int]":
    import xgboost

    booster = xgboost.train(
        settings, data, rounds, evals=evals, early_stopping_rounds=25 if evals else None, verbose_eval=False
    )
    if evals:
        rounds = booster.best_iteration + 1
        booster = booster[:rounds]
    return booster, rounds


def load_curve(folder: Path, content: Mapping[str, Any]) -> Curve:
    """Read a curve of which ``save`` returned the content.

    Raises:
        OutdatedModelError: it was fitted on other features than are built now; train anew.
    """
    from crewflow_assets.errors import OutdatedModelError

    kind, rest = content["kind"], content["curve"]
    if kind == "table":
        return Table(tuple(rest["by"]), rest["overall"], rest["shares"])
    now = FEATURES if kind == "hazard" else CONTEXT
    if tuple(rest["features"]) != now:
        raise OutdatedModelError("the model stands on other features than are built now; train retry_strategy anew")
    import xgboost

    booster = xgboost.Booster(params={"nthread": 1})
    booster.load_model(folder / f"{kind}.ubj")
    return Hazard(booster) if kind == "hazard" else Survival(booster, rest["scale"])
