"""The methods that the sync health model has to beat: those that can stand in for it, and simpler ones."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from crewflow_assets.arrays import AnyFloats, Singles
from crewflow_assets.sync_health.features import COLUMN, FEATURES, PRD
from crewflow_assets.sync_health.model import fit_model

Probabilities = Callable[[Singles], AnyFloats]

PRD_PARAMETERS: Mapping[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.1,
    "scale_pos_weight": 5,
    "nthread": 1,
}
ROLLING, LOGISTIC, FROM_PRD = "rolling rate", "logistic regression", "PRD's parameters"
BASELINES: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "failures in a row": (("failures_in_a_row",), {"parts": ("trees",)}),
    ROLLING: (("failure_share_last_30",), {"parts": ("trees",)}),
    LOGISTIC: (FEATURES, {"parts": ("regression",), "calibrated": False}),
    FROM_PRD: (PRD, {"parts": ("trees",), "parameters": PRD_PARAMETERS, "rounds": 100, "calibrated": False}),
}
"""What can stand in for a champion: the model's own code on these features, with these settings. The last is the
PRD's model as it stands there (2.2): its eight features, its parameters, not calibrated."""


def simple_methods(usual: float) -> dict[str, Probabilities]:
    """Return what needs no fit: always-no, same-as-last, and the rolling rate (share of the last 30 that failed).

    Args:
        usual: What they say where nothing went before: the share of failures in training.
    """

    def as_last(x: Singles) -> AnyFloats:
        failing = x[:, COLUMN["failures_in_a_row"]] > 0
        return np.where(x[:, COLUMN["known_attempts"]] > 0, failing.astype(float), usual)

    def rolling(x: Singles) -> AnyFloats:
        share = x[:, COLUMN["failure_share_last_30"]].astype(float)
        return np.where(np.isnan(share), usual, share)

    return {"always no": lambda x: np.zeros(len(x)), "same as last": as_last, ROLLING: rolling}


def fit_baselines(rows: Singles, failed: AnyFloats, micros: AnyFloats, *, seed: int) -> dict[str, Probabilities]:
    """Return the simple methods, and the logistic regression and the PRD's model fitted on training rows.

    See ``model.fit`` for the arguments and what is raised.
    """
    found = simple_methods(float(failed.mean()))
    for name in (LOGISTIC, FROM_PRD):
        using, settings = BASELINES[name]
        found[name] = fit_model(rows, failed, micros, using, seed=seed, **settings).probability
    return found
