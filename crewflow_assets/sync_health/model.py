"""The sync health model: boosted trees and a logistic regression, averaged in log-odds, calibrated on later time.

There are two of them: one on all features, and one on the few that a request can carry. Neither weighs failures up
(no ``scale_pos_weight``): a probability that is to mean what it says must see failures as rare as they are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.special import expit

from crewflow_assets.arrays import AnyFloats, Bools, Singles
from crewflow_assets.errors import refuse_gone
from crewflow_assets.spec import Predictor
from crewflow_assets.sync_health.calibration import FEWEST_FAILURES, Calibration, choose_calibration
from crewflow_assets.sync_health.features import COLUMN, FEATURES, GIVEN
from crewflow_assets.sync_health.regression import Regression, fit_regression

if TYPE_CHECKING:
    import xgboost

Part = Literal["trees", "regression"]

BOTH: tuple[Part, ...] = ("trees", "regression")
TREES_SHARE = 0.7
"""Of the log-odds, where there are both parts; the rest is the regression's."""
MOST_ROUNDS, PATIENCE = 600, 30
CALIBRATION_SHARE = 0.2
"""The last part of the training time; the number of rounds and the calibration come from it."""
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
class FailureModel:
    """The probability of failure from named features: one part alone or both, with a calibration."""

    features: tuple[str, ...]
    booster: "xgboost.Booster | None"
    regression: Regression | None
    calibration: Calibration

    def probability(self, rows: Singles) -> AnyFloats:
        """Return the probability of failure for rows of all features, shape (n,)."""
        return self.calibration(expit(self.log_odds(self._own(rows))))

    def contributions(self, rows: Singles) -> AnyFloats:
        """Return what each feature adds to the log-odds, exactly, shape (n, len(FEATURES)).

        It is the mean of TreeSHAP (Lundberg et al. 2020) and of the regression's terms less their usual values, with
        the parts' shares, stretched as the calibration stretches log-odds. The rest up to the log-odds is the same
        for all rows.
        """
        own = self._own(rows)
        parts: list[AnyFloats] = []
        if self.booster is not None:
            import xgboost

            parts.append(self.booster.predict(xgboost.DMatrix(own), pred_contribs=True)[:, :-1])
        if self.regression is not None:
            parts.append(self.regression.contributions(own))
        found = np.zeros((len(rows), len(FEATURES)))
        found[:, self._columns] = self.calibration.slope * _mean(parts)
        return found

    def log_odds(self, own: Singles) -> AnyFloats:
        """Return log-odds before calibration for rows of its own features, shape (n,)."""
        parts: list[AnyFloats] = []
        if self.booster is not None:
            parts.append(self.booster.inplace_predict(own, predict_type="margin").astype(float))
        if self.regression is not None:
            parts.append(self.regression.log_odds(own))
        return _mean(parts)

    @property
    def _columns(self) -> list[int]:
        return [COLUMN[name] for name in self.features]

    def _own(self, rows: Singles) -> Singles:
        return np.ascontiguousarray(rows[:, self._columns])

    def save(self, folder: Path, name: str) -> None:
        """Write the booster as UBJ and the rest as JSON."""
        if self.booster is not None:
            self.booster.save_model(folder / f"{name}.ubj")
        line = self.calibration
        content = {
            "features": self.features,
            "regression": None if self.regression is None else self.regression.as_json(),
            "calibration": {"kind": line.kind, "x": line.x, "y": line.y},
        }
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            OutdatedModelError: it was fitted on a feature that there is no longer; train anew.
        """
        import xgboost

        content = json.loads((folder / f"{name}.json").read_text())
        refuse_gone(content["features"], COLUMN)
        booster = None
        if (file := folder / f"{name}.ubj").exists():
            booster = xgboost.Booster(params={"nthread": 1})
            booster.load_model(file)
        regression = content.get("regression")  # versions of trees alone say nothing of it
        line = content["calibration"]
        return cls(
            tuple(content["features"]),
            booster,
            None if regression is None else Regression.from_json(regression),
            Calibration(line["kind"], tuple(line["x"]), tuple(line["y"])),
        )


def _mean(parts: Sequence[AnyFloats]) -> AnyFloats:
    """Return trees' and regression's log-odds in one."""
    return parts[0] if len(parts) == 1 else TREES_SHARE * parts[0] + (1 - TREES_SHARE) * parts[1]


@dataclass(frozen=True, slots=True, eq=False)
class SyncHealthPredictor(Predictor):
    """The fitted model: ``full`` on all features, ``given`` on what a request carries."""

    full: FailureModel
    given: FailureModel

    def save(self, folder: Path) -> None:
        """Write both."""
        self.full.save(folder, "full")
        self.given.save(folder, "given")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(FailureModel.load(folder, "full"), FailureModel.load(folder, "given"))


def fit(
    rows: Singles,
    failed: AnyFloats,
    micros: AnyFloats,
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
        settings: Its other settings; see ``fit_model``.

    Raises:
        ValueError: fewer than 10 failures, or successes, in the earlier or the later part.
    """
    return SyncHealthPredictor(
        fit_model(rows, failed, micros, full, seed=seed, **settings),
        fit_model(rows, failed, micros, GIVEN, seed=seed),
    )


def fit_model(
    rows: Singles,
    failed: AnyFloats,
    micros: AnyFloats,
    features: Sequence[str],
    *,
    seed: int,
    parts: Sequence[Part] = BOTH,
    parameters: Mapping[str, Any] = PARAMETERS,
    rounds: int | None = None,
    calibrated: bool = True,
) -> FailureModel:
    """Fit on the earlier part, choose rounds and calibration on the later one, and fit again on all.

    Args:
        rows: See ``fit``, as for what is raised.
        failed: See ``fit``.
        micros: See ``fit``.
        features: The features to use.
        seed: Of the subsamples.
        parts: What the model is the mean of.
        parameters: XGBoost's.
        rounds: The number of trees, where it is not to be chosen.
        calibrated: Whether to calibrate.
    """
    later = micros > np.quantile(micros, 1 - CALIBRATION_SHARE)
    _require_both(failed, later)
    x = rows[:, [COLUMN[name] for name in features]]
    settings = {**parameters, "seed": seed}
    calibration = Calibration("none")
    if calibrated or ("trees" in parts and rounds is None):
        trial = _uncalibrated(features, x[~later], failed[~later], parts, settings, rounds, (x[later], failed[later]))
        if trial.booster is not None:
            rounds = trial.booster.num_boosted_rounds()
        if calibrated:
            calibration = choose_calibration(expit(trial.log_odds(x[later])), failed[later], micros[later])
    return replace(_uncalibrated(features, x, failed, parts, settings, rounds), calibration=calibration)


def _uncalibrated(
    features: Sequence[str],
    x: Singles,
    failed: AnyFloats,
    parts: Sequence[Part],
    settings: Mapping[str, Any],
    rounds: int | None,
    later: tuple[Singles, AnyFloats] | None = None,
) -> FailureModel:
    """Fit the parts; later rows, if given, say after how many trees to stop, where the number is not."""
    booster = regression = None
    if "trees" in parts:
        import xgboost

        stops = later is not None and rounds is None
        booster = xgboost.train(
            dict(settings),
            xgboost.QuantileDMatrix(x, failed),
            rounds or MOST_ROUNDS,
            evals=[(xgboost.DMatrix(*later), "later")] if stops and later else None,
            early_stopping_rounds=PATIENCE if stops else None,
            verbose_eval=False,
        )
        if stops:
            booster = booster[: booster.best_iteration + 1]
    if "regression" in parts:
        regression = fit_regression(x, failed, seed=settings["seed"])
    return FailureModel(tuple(features), booster, regression, Calibration("none"))


def _require_both(failed: AnyFloats, later: Bools) -> None:
    for part, chosen in (("earlier", ~later), ("later", later)):
        failures = int(failed[chosen].sum())
        if min(failures, int(chosen.sum()) - failures) < FEWEST_FAILURES:
            raise ValueError(
                f"the {part} part of the training time has {failures} failures in {int(chosen.sum())} syncs; "
                f"{FEWEST_FAILURES} failures and successes are needed: import more history"
            )
