"""How sure the first candidate is: a logistic regression on how far ahead it is and on how much history it stands."""

from collections.abc import Sequence

import numpy as np

from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.features import COLUMN
from crewflow_assets.evaluation.calibration import FEWEST_DECISIONS

CONFIDENCE_INPUTS = (
    *("logit_first", "margin", "log_history", "own_share", "nearest", "memory", "log_candidates", "entropy"),
    "margin_by_history",
)

CHOICE = 2
"""A lone account is not chosen among any, whatever the confidence was fitted on."""


def fewest_candidates(lengths: Ints) -> int:
    """Return the length of the shortest chart on which a confidence that was fitted on charts of ``lengths`` stands.

    At least as many queries were as short as a threshold needs, so that a single odd one tells nothing.
    """
    return max(CHOICE, int(np.sort(lengths)[min(FEWEST_DECISIONS, len(lengths)) - 1]))


def confidence_inputs(
    firsts: AnyFloats, probabilities: AnyFloats, orders: Sequence[Ints], n_history: Ints
) -> AnyFloats:
    """Return what the confidence in the first candidate of each query is made of, a column of ones first.

    ``firsts`` has the features of each query's first candidate, shape (queries, features).
    """
    rows = np.arange(len(orders))
    p = np.clip(probabilities[rows, [order[0] for order in orders]], 1e-6, 1 - 1e-6)
    second = probabilities[rows, [order[1] for order in orders]] if probabilities.shape[1] > 1 else 1e-6
    margin = np.log(p / np.maximum(second, 1e-6))
    history = np.log1p(n_history) / 5
    return np.column_stack(
        [
            np.ones(len(orders)),
            np.log(p / (1 - p)),
            margin,
            history,
            firsts[:, COLUMN["share_group"]] + firsts[:, COLUMN["share_prefix"]],
            firsts[:, COLUMN["nearest"]],
            firsts[:, COLUMN["memory"]],
            np.full(len(orders), np.log(probabilities.shape[1]) / 5),
            -(probabilities * np.log(np.maximum(probabilities, 1e-9))).sum(axis=1) / 5,
            margin * history,
        ]
    )


def fit_confidence(inputs: AnyFloats, right: AnyFloats) -> AnyFloats:
    """Return the weights of a logistic regression on ``confidence_inputs``; a constant if all or none were right."""
    from sklearn.linear_model import LogisticRegression  # seconds to import; serving does not need it

    if right.all() or not right.any():
        share = (right.sum() + 1) / (len(right) + 2)
        return np.concatenate([[np.log(share / (1 - share))], np.zeros(len(CONFIDENCE_INPUTS))])
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(inputs[:, 1:], right)
    return np.concatenate([fitted.intercept_, fitted.coef_[0]])
