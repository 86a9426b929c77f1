"""The conflict model: boosted trees over three resolutions, calibrated on groups that they were not fitted on.

The confidence knows how little was seen. What the trees say of held-out groups is calibrated by several temperatures,
each fitted on differently weighted groups (Bayesian bootstrap, Rubin 1981): few groups make them disagree, and their
mean is less sure than the best of them. The result is mixed with ignorance, as if half a group more had been seen
about which nothing is known, so that no number of agreeing groups gives certainty.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from crewflow_assets.arrays import AnyFloats, Bools, Ints, Objects, Singles
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.features import COLUMN, FEATURES
from crewflow_assets.errors import refuse_gone
from crewflow_assets.evaluation.calibration import automatic_threshold
from crewflow_assets.spec import Predictor

if TYPE_CHECKING:
    import xgboost


CLASSES = len(RESOLUTIONS)
MANUAL = RESOLUTIONS.index("manual")
FOLDS = 5
FEWEST_GROUPS = 10
FEWEST_ROWS = 50
DRAWS = 20
MOST_ROUNDS, PATIENCE = 400, 25
LEAST_CONFIDENCE = 0.9
"""No automatic decision below this, whatever the past shows (PRD 2.3)."""
LOWEST_BOUND = 0.9
"""Lower 95 % bound of the share right among automatic decisions."""
SLOPE_SPREAD = 0.5
"""How far from 0 the logarithm of a calibration's slope is before anything is seen (standard deviation)."""
LOG_SLOPES = (-3.0, 1.5)
UNSEEN = 0.5
"""Groups about which nothing is known that are counted to those seen (Krichevsky & Trofimov 1981)."""
SMALLEST = 1e-5
PARAMETERS: dict[str, Any] = {
    "objective": "multi:softprob",
    "num_class": CLASSES,
    "eval_metric": "mlogloss",
    "tree_method": "hist",
    "eta": 0.07,
    "max_depth": 5,
    "min_child_weight": 3,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
    "nthread": 1,
}
FILE, BOOSTER = "conflicts.json", "conflicts.ubj"


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Temperature scaling (Guo et al. 2017) by several temperatures, of which the mean counts, and ignorance."""

    slopes: AnyFloats
    """What each draw multiplies the log-probabilities by (one over its temperature), shape (draws,)."""
    groups: int
    """Groups that were seen."""

    def __call__(self, probability: AnyFloats) -> AnyFloats:
        """Return calibrated probabilities, shape (n, CLASSES); their order stays."""
        logs = np.log(np.clip(probability, SMALLEST, 1))
        mean: AnyFloats = softmax(self.slopes[:, None, None] * logs, axis=2).mean(axis=0)
        return (self.groups * mean + UNSEEN / CLASSES) / (self.groups + UNSEEN)


@dataclass(frozen=True, slots=True, eq=False)
class ConflictPredictor(Predictor):
    """The fitted model. ``thresholds`` says by conflict type from which confidence it decides; None: never."""

    booster: "xgboost.Booster"
    calibration: Calibration
    thresholds: Mapping[str, float | None]
    features: tuple[str, ...] = FEATURES

    def probability(self, rows: Singles) -> AnyFloats:
        """Return the probability of each resolution for rows of all features, shape (n, CLASSES)."""
        return self.calibration(self.booster.inplace_predict(self._own(rows)).astype(float))

    def contributions(self, rows: Singles) -> AnyFloats:
        """Return what each feature adds to the log-odds of each resolution (TreeSHAP).

        Returns:
            Shape (n, CLASSES, len(FEATURES)); the rest up to the trees' margin is the same for all rows.
        """
        import xgboost

        found = np.zeros((len(rows), CLASSES, len(FEATURES)))
        said = self.booster.predict(xgboost.DMatrix(self._own(rows)), pred_contribs=True, strict_shape=True)
        found[:, :, self._columns] = said[:, :, :-1]
        return found

    def automatic(self, probability: AnyFloats, types: Objects) -> Bools:
        """Return which decisions need no person: sure enough for their type, and never a predicted ``manual``."""
        limits = [self.thresholds.get(str(kind)) for kind in types]
        limit = np.array([np.inf if one is None else one for one in limits])
        return np.asarray((probability.max(axis=1) >= limit) & (probability.argmax(axis=1) != MANUAL))

    @property
    def _columns(self) -> list[int]:
        return [COLUMN[name] for name in self.features]

    def _own(self, rows: Singles) -> Singles:
        return np.ascontiguousarray(rows[:, self._columns])

    def save(self, folder: Path) -> None:
        """Write the trees as UBJ and the rest as JSON."""
        self.booster.save_model(folder / BOOSTER)
        content = {
            "features": self.features,
            "slopes": self.calibration.slopes.tolist(),
            "groups": self.calibration.groups,
            "thresholds": dict(self.thresholds),
        }
        (folder / FILE).write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            OutdatedModelError: it was fitted on a feature that there is no longer; train anew.
        """
        import xgboost

        content = json.loads((folder / FILE).read_text())
        refuse_gone(content["features"], COLUMN)
        booster = xgboost.Booster(params={"nthread": 1})
        booster.load_model(folder / BOOSTER)
        calibration = Calibration(np.array(content["slopes"]), content["groups"])
        return cls(booster, calibration, content["thresholds"], tuple(content["features"]))


def fit(
    rows: Singles,
    labels: Ints,
    groups: Objects,
    types: Objects,
    *,
    seed: int,
    folds: Ints | None = None,
    features: tuple[str, ...] = FEATURES,
    parameters: Mapping[str, Any] = PARAMETERS,
) -> ConflictPredictor:
    """Fit trees, calibration and thresholds.

    Args:
        rows: Shape (n, len(FEATURES)).
        labels: Places in ``RESOLUTIONS``, shape (n,).
        groups: Company or group of each row, shape (n,); what is held out is held out by these.
        types: Conflict type of each row, shape (n,).
        seed: Of folds and subsamples.
        folds: Fold of each row, 0 to ``FOLDS`` − 1, where features stand on a division of the groups already.
        features: Those to use.
        parameters: Of the trees.

    Raises:
        ValueError: too few rows or groups, or only one resolution.
    """
    import xgboost

    _require_enough(labels, groups)
    fold = folds_of(groups, seed=seed) if folds is None else folds
    used = rows[:, [COLUMN[name] for name in features]]
    settings = {**parameters, "seed": seed}
    said, rounds = _say_outside(used, labels, fold, settings)
    outside = np.empty_like(said)
    for held_out in np.unique(fold):
        mine = fold == held_out
        outside[mine] = fit_calibration(said[~mine], labels[~mine], groups[~mine], seed=seed)(said[mine])
    return ConflictPredictor(
        booster=xgboost.train(settings, xgboost.QuantileDMatrix(used, labels), rounds),
        calibration=fit_calibration(said, labels, groups, seed=seed),
        thresholds=thresholds_by_type(outside, labels, groups, types),
        features=features,
    )


def _require_enough(labels: Ints, groups: Objects) -> None:
    found = len(np.unique(groups.astype(str)))
    if len(labels) < FEWEST_ROWS or found < FEWEST_GROUPS:
        raise ValueError(
            f"{len(labels)} decisions of {found} companies are too few to learn from; it takes {FEWEST_ROWS} "
            f"of {FEWEST_GROUPS} companies: import more history"
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(f"every decision is {RESOLUTIONS[int(labels[0])]!r}; import history with other resolutions")


def folds_of(groups: Objects, *, seed: int, folds: int = FOLDS) -> Ints:
    """Deal groups out evenly to folds, shape (n,); rows of one group are never parted."""
    _, place = np.unique(groups.astype(str), return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(place.max() + 1) % folds
    return np.asarray(dealt[place], np.int64)


def _say_outside(rows: Singles, labels: Ints, fold: Ints, settings: Mapping[str, Any]) -> tuple[AnyFloats, int]:
    """Return what trees of the other folds say of each row, and how many rounds are best for all folds together."""
    import xgboost

    trials = {}
    for held_out in np.unique(fold):
        mine = fold == held_out
        asked = xgboost.DMatrix(rows[mine], labels[mine])
        trials[held_out] = (
            asked,
            xgboost.train(
                dict(settings),
                xgboost.QuantileDMatrix(rows[~mine], labels[~mine]),
                MOST_ROUNDS,
                evals=[(asked, "held_out")],
                early_stopping_rounds=PATIENCE,
                verbose_eval=False,
            ),
        )
    rounds = int(np.median([trial.best_iteration for _, trial in trials.values()])) + 1
    said = np.empty((len(rows), CLASSES))
    for held_out, (asked, trial) in trials.items():
        until = min(rounds, trial.num_boosted_rounds())
        said[fold == held_out] = trial.predict(asked, iteration_range=(0, until))
    return said, rounds


def fit_calibration(said: AnyFloats, labels: Ints, groups: Objects, *, seed: int) -> Calibration:
    """Fit ``DRAWS`` temperatures, each on the groups with weights drawn anew.

    Args:
        said: Probabilities of trees that did not see the row's group, shape (n, CLASSES).
        labels: What was decided, shape (n,).
        groups: Group of each row, shape (n,).
        seed: Of the weights.
    """
    _, place = np.unique(groups.astype(str), return_inverse=True)
    logs = np.log(np.clip(said, SMALLEST, 1))
    logs -= logs.max(axis=1, keepdims=True)
    right = logs[np.arange(len(labels)), labels]
    count = int(place.max()) + 1
    random = np.random.default_rng(seed)
    slopes = []
    for _ in range(DRAWS):
        weights = random.exponential(size=count)
        slopes.append(_fit_slope(logs, right, weights[place] / weights.mean()))
    return Calibration(np.array(slopes), count)


def _fit_slope(logs: AnyFloats, right: AnyFloats, weights: AnyFloats) -> float:
    """Return the slope of the highest posterior; its logarithm is usually within ``SLOPE_SPREAD`` of 0."""

    def loss(log_slope: float) -> float:
        slope = np.exp(log_slope)
        likelihood = weights @ (slope * right - np.log(np.exp(slope * logs).sum(axis=1)))
        return float(0.5 * (log_slope / SLOPE_SPREAD) ** 2 - likelihood)

    found = minimize_scalar(loss, bounds=LOG_SLOPES, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def thresholds_by_type(
    probability: AnyFloats, labels: Ints, groups: Objects, types: Objects
) -> dict[str, float | None]:
    """Return for each conflict type the lowest confidence from which automatic decisions keep the promise.

    They must be right in at least 95 % with a lower bound of 90 %, clustered, and never less sure than
    ``LEAST_CONFIDENCE``. One more group of the usual size, of which half is wrong, stands for what was not seen, so
    that a few groups without any mistake prove nothing.
    """
    said, confidence = probability.argmax(axis=1), probability.max(axis=1)
    found: dict[str, float | None] = {}
    for kind in np.unique(types.astype(str)):
        sure = (types == kind) & (said != MANUAL) & (confidence >= LEAST_CONFIDENCE)
        if not sure.any():
            found[str(kind)] = None
            continue
        clusters = groups[sure].astype(str)
        usual = int(np.ceil(sure.sum() / len(np.unique(clusters))))
        found[str(kind)] = automatic_threshold(
            np.concatenate([confidence[sure], np.full(usual, np.inf)]),
            np.concatenate([(said == labels)[sure].astype(float), np.full(usual, 0.5)]),
            np.concatenate([clusters, np.full(usual, "\0not seen")]).astype(object),
            lowest_bound=LOWEST_BOUND,
        ).value
    return found
