"""The sync health model: boosted trees on what went before, calibrated on later time than they were fitted on.

There are two of them: one on all features, and one on the few that a request can carry. Neither weighs failures up
(no ``scale_pos_weight``): a probability that is to mean what it says must see failures as rare as they are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from crewflow_assets.errors import NotReadyError
from crewflow_assets.spec import Predictor
from crewflow_assets.sync_health.features import COLUMN, FEATURES, GIVEN

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.floating]
Kind = Literal["none", "logistic", "isotonic"]

MOST_ROUNDS, PATIENCE = 600, 30
CALIBRATION_SHARE = 0.2
"""The last part of the training time; the number of rounds and the calibration come from it."""
FEWEST_FAILURES = 10
SMALLEST = 1e-4
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "eta": 0.04,
    "max_depth": 4,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "nthread": 1,
}


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What becomes of the trees' probability: nothing, a logistic curve of its log-odds, or an isotonic line."""

    kind: Kind
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    """Logistic: ``x`` is (slope, intercept). Isotonic: the points between which the line runs."""

    def __call__(self, probability: Floats) -> Floats:
        """Return calibrated probabilities; never quite 0 or 1, which no history can prove."""
        if self.kind == "logistic":
            slope, intercept = self.x
            probability = expit(slope * logit(np.clip(probability, 1e-7, 1 - 1e-7)) + intercept)
        elif self.kind == "isotonic":
            probability = np.interp(probability, self.x, self.y)
        return np.clip(probability, SMALLEST, 1 - SMALLEST)


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A booster on named features, with its calibration."""

    booster: "xgboost.Booster"
    features: tuple[str, ...]
    calibration: Calibration

    def probability(self, rows: NDArray[np.float32]) -> Floats:
        """Return the probability of failure for rows of all features, shape (n,)."""
        return self.calibration(self.booster.inplace_predict(self._own(rows)))

    def contributions(self, rows: NDArray[np.float32]) -> Floats:
        """Return what each feature adds to the log-odds, exactly (TreeSHAP), shape (n, len(FEATURES)).

        The rest up to the log-odds is the same for all rows.
        """
        import xgboost

        found = np.zeros((len(rows), len(FEATURES)))
        matrix = xgboost.DMatrix(self._own(rows))
        found[:, self._columns] = self.booster.predict(matrix, pred_contribs=True)[:, :-1]
        return found

    @property
    def _columns(self) -> list[int]:
        return [COLUMN[name] for name in self.features]

    def _own(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(rows[:, self._columns])

    def save(self, folder: Path, name: str) -> None:
        """Write the booster as UBJ and the rest as JSON."""
        self.booster.save_model(folder / f"{name}.ubj")
        line = self.calibration
        content = {"features": self.features, "calibration": {"kind": line.kind, "x": line.x, "y": line.y}}
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            NotReadyError: it was fitted on a feature that there is no longer; train anew.
        """
        import xgboost

        content = json.loads((folder / f"{name}.json").read_text())
        gone = [feature for feature in content["features"] if feature not in COLUMN]
        if gone:
            raise NotReadyError(f"the model stands on the feature {gone[0]!r}, which is no longer built; train anew")
        booster = xgboost.Booster(params={"nthread": 1})
        booster.load_model(folder / f"{name}.ubj")
        line = content["calibration"]
        return cls(booster, tuple(content["features"]), Calibration(line["kind"], tuple(line["x"]), tuple(line["y"])))


@dataclass(frozen=True, slots=True, eq=False)
class SyncHealthPredictor(Predictor):
    """The fitted model: ``full`` on all features, ``given`` on what a request carries."""

    full: Trees
    given: Trees

    def save(self, folder: Path) -> None:
        """Write both."""
        self.full.save(folder, "full")
        self.given.save(folder, "given")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(Trees.load(folder, "full"), Trees.load(folder, "given"))


def fit(
    rows: NDArray[np.float32],
    failed: Floats,
    micros: Floats,
    *,
    seed: int,
    full: Sequence[str] = FEATURES,
    **settings: Any,
) -> SyncHealthPredictor:
    """Fit both on training rows.

    Args:
        rows: Shape (n, len(FEATURES)).
        failed: 1 where the sync failed.
        micros: When it was, microseconds.
        seed: Of the subsamples.
        full: The features of the larger one.
        settings: Its other settings; see ``fit_trees``.

    Raises:
        ValueError: fewer than 10 failures, or successes, in the earlier or the later part.
    """
    return SyncHealthPredictor(
        fit_trees(rows, failed, micros, full, seed=seed, **settings),
        fit_trees(rows, failed, micros, GIVEN, seed=seed),
    )


def fit_trees(
    rows: NDArray[np.float32],
    failed: Floats,
    micros: Floats,
    features: Sequence[str],
    *,
    seed: int,
    parameters: Mapping[str, Any] = PARAMETERS,
    rounds: int | None = None,
    calibrated: bool = True,
) -> Trees:
    """Fit on the earlier part, choose rounds and calibration on the later one, and fit again on all.

    Args:
        rows: See ``fit``, as for what is raised.
        failed: See ``fit``.
        micros: See ``fit``.
        features: The features to use.
        seed: Of the subsamples.
        parameters: XGBoost's.
        rounds: The number of trees, where it is not to be chosen.
        calibrated: Whether to calibrate.
    """
    import xgboost

    later = micros > np.quantile(micros, 1 - CALIBRATION_SHARE)
    _require_both(failed, later)
    columns = [COLUMN[name] for name in features]
    settings = {**parameters, "seed": seed}
    x = rows[:, columns]
    early, late = (xgboost.QuantileDMatrix(x[~later], failed[~later]), xgboost.DMatrix(x[later], failed[later]))
    trial = xgboost.train(
        settings,
        early,
        rounds or MOST_ROUNDS,
        evals=[(late, "later")],
        early_stopping_rounds=None if rounds else PATIENCE,
        verbose_eval=False,
    )
    rounds = rounds or trial.best_iteration + 1
    calibration = Calibration("none")
    if calibrated:
        said = trial.predict(late, iteration_range=(0, rounds)).astype(float)
        calibration = choose_calibration(said, failed[later], micros[later])
    booster = xgboost.train(settings, xgboost.QuantileDMatrix(x, failed), rounds)
    return Trees(booster, tuple(features), calibration)


def _require_both(failed: Floats, later: NDArray[np.bool_]) -> None:
    for part, chosen in (("earlier", ~later), ("later", later)):
        failures = int(failed[chosen].sum())
        if min(failures, int(chosen.sum()) - failures) < FEWEST_FAILURES:
            raise ValueError(
                f"the {part} part of the training time has {failures} failures in {int(chosen.sum())} syncs; "
                f"{FEWEST_FAILURES} failures and successes are needed: import more history"
            )


def choose_calibration(probability: Floats, failed: Floats, micros: Floats) -> Calibration:
    """Return the calibration that does best, by log loss, on later time than it was fitted on.

    It is then fitted again on all rows.
    """
    earlier = micros <= np.median(micros)
    if min(failed[earlier].sum(), failed[~earlier].sum()) < FEWEST_FAILURES:
        return Calibration("none")
    kinds: tuple[Kind, ...] = ("none", "logistic", "isotonic")
    losses = {
        kind: log_loss(
            fit_calibration(kind, probability[earlier], failed[earlier])(probability[~earlier]), failed[~earlier]
        )
        for kind in kinds
    }
    return fit_calibration(min(kinds, key=losses.__getitem__), probability, failed)


def fit_calibration(kind: Kind, probability: Floats, failed: Floats) -> Calibration:
    """Fit a calibration of one kind."""
    if kind == "none":
        return Calibration("none")
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression

        odds = logit(np.clip(probability, 1e-7, 1 - 1e-7))[:, None]
        line = LogisticRegression(C=1e6, max_iter=1000).fit(odds, failed)
        return Calibration("logistic", (float(line.coef_[0, 0]), float(line.intercept_[0])))
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probability, failed)
    return Calibration("isotonic", tuple(map(float, steps.X_thresholds_)), tuple(map(float, steps.y_thresholds_)))


def log_loss(probability: Floats, failed: Floats) -> float:
    """Return the mean negative log-likelihood, a proper score: lower is better."""
    return float(-np.mean(np.where(failed == 1, np.log(probability), np.log1p(-probability))))
