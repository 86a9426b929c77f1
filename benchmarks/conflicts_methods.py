"""The methods of the conflict benchmark: ours, and the baselines that it has to beat."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.conflicts_data import Dataset, plain_rows
from crewflow_assets.arrays import AnyFloats, Bools, Ints
from crewflow_assets.conflict_resolution.features import CASE_FEATURES, CHOICE_FEATURES, COLUMN, FEATURES
from crewflow_assets.conflict_resolution.model import (
    CLASSES,
    LEAST_CONFIDENCE,
    MANUAL,
    fit,
    folds_of,
    thresholds_by_type,
)

PRD_PARAMETERS: dict[str, Any] = {"n_estimators": 100, "max_depth": 4, "n_jobs": 1}
"""The PRD's (2.3); the rest as the library has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a method says of conflicts whose groups it has not seen."""

    probability: AnyFloats
    """Shape (n, CLASSES)."""
    automatic: Bools


Method = Callable[[Dataset, Ints, Ints, int], Asked]
"""(data set, places to learn from, places asked, seed): no group has places in both."""
Says = Callable[[Dataset, Ints, Ints, int], AnyFloats]
"""The same, but for the probabilities alone."""


def ours(data: Dataset, known: Ints, asked: Ints, seed: int) -> Asked:
    """The product's features, model, calibration and thresholds."""
    fold = folds_of(data.clusters[known], seed=seed)
    rows = np.empty((len(known), len(FEATURES)), np.float32)
    for held_out in np.unique(fold):
        rows[fold == held_out] = data.rows(known[fold == held_out], known[fold != held_out])
    model = fit(rows, data.labels[known], data.clusters[known], data.types[known], seed=seed, folds=fold)
    probability = model.probability(data.rows(asked, known))
    return Asked(probability, model.automatic(probability, data.types[asked]))


def held_to_target(says: Says) -> Method:
    """Make a method of probabilities, automatic by the product's rule on groups that were not learned from."""

    def method(data: Dataset, known: Ints, asked: Ints, seed: int) -> Asked:
        fold = folds_of(data.clusters[known], seed=seed)
        outside = np.empty((len(known), CLASSES))
        for held_out in np.unique(fold):
            mine = fold == held_out
            outside[mine] = says(data, known[~mine], known[mine], seed)
        limits = thresholds_by_type(outside, data.labels[known], data.clusters[known], data.types[known])
        probability = says(data, known, asked, seed)
        limit = np.array([np.inf if limits.get(kind) is None else limits[kind] for kind in data.types[asked]], float)
        return Asked(probability, (probability.max(axis=1) >= limit) & (probability.argmax(axis=1) != MANUAL))

    return method


def prd(data: Dataset, known: Ints, asked: Ints, seed: int) -> Asked:
    """The PRD's six features and parameters, automatic from p = .9 as it stands there."""
    rows = np.column_stack(
        [
            data.evidence[:, COLUMN["abs_difference"]],
            data.frame["hours_since_sync"],
            np.unique(data.types.astype(str), return_inverse=True)[1],
            data.frame["rel_a"],  # the nearest that a file has to a worker's reliability
        ]
    )  # project phase and weekday stand in no file
    probability = _xgboost(rows[known], data.labels[known], rows[asked], seed)
    sure = (probability.max(axis=1) > LEAST_CONFIDENCE) & (probability.argmax(axis=1) != MANUAL)
    return Asked(probability, sure)


def plain_xgboost(data: Dataset, known: Ints, asked: Ints, seed: int) -> AnyFloats:
    """The PRD's parameters on every column of the file."""
    rows = plain_rows(data.frame)
    return _xgboost(rows[known], data.labels[known], rows[asked], seed)


def always_home(data: Dataset, known: Ints, asked: Ints, _seed: int) -> AnyFloats:
    """Always CrewFlow's value."""
    return _rule(data, known, asked, np.zeros(len(data), np.int64))


def more_reliable(data: Dataset, known: Ints, asked: Ints, _seed: int) -> AnyFloats:
    """The source that was right more often in the past, CrewFlow's where that is unknown or equal."""
    other = (data.frame["rel_b"] > data.frame["rel_a"]).to_numpy()
    return _rule(data, known, asked, other.astype(np.int64))


def own_majority(data: Dataset, known: Ints, asked: Ints, _seed: int) -> AnyFloats:
    """What the company chose most in like cases, as sure as its (shrunk) share."""
    first = len(CASE_FEATURES) + CHOICE_FEATURES.index("chose_crewflow_alike")
    return data.rows(asked, known)[:, first : first + CLASSES].astype(float)


def _rule(data: Dataset, known: Ints, asked: Ints, says: Ints) -> AnyFloats:
    """Return a rule's word, as sure as it was right on the known conflicts of the type (but never outvoted)."""
    probability = np.empty((len(asked), CLASSES))
    for kind in np.unique(data.types[asked].astype(str)):
        alike, mine = known[data.types[known] == kind], data.types[asked] == kind
        right = (float(np.sum(says[alike] == data.labels[alike])) + 1) / (len(alike) + 2)
        right = max(right, (1 + 1e-6) / CLASSES)
        probability[mine] = (1 - right) / (CLASSES - 1)
        probability[np.flatnonzero(mine), says[asked[mine]]] = right
    return probability


def _xgboost(rows: AnyFloats, labels: Ints, asked: AnyFloats, seed: int) -> AnyFloats:
    import xgboost

    model = xgboost.XGBClassifier(**PRD_PARAMETERS, random_state=seed)
    present, places = np.unique(labels, return_inverse=True)  # small parts may lack a resolution
    model.fit(rows, places)
    probability = np.zeros((len(asked), CLASSES))
    probability[:, present] = model.predict_proba(asked)
    return probability


OURS, PLAIN = "ours", "plain XGBoost, same target"
METHODS: dict[str, Method] = {
    OURS: ours,
    PLAIN: held_to_target(plain_xgboost),
    "XGBoost as in the PRD (p > .9)": prd,
    "always CrewFlow": held_to_target(always_home),
    "more reliable source": held_to_target(more_reliable),
    "company's own majority": held_to_target(own_majority),
}
