"""The product's conditional logit, with weights for blocks of rows and a bound for when there is but one firm.

One firm that uses each target once teaches that a used target is wrong, and the next firm is ranked backwards.
Bounding the weights of all similarities and shares at 0 forbids that lesson; two firms already contradict it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from crewflow_assets.cost_code_mapping.features import FEATURES

Floats = NDArray[np.floating]

Block = tuple[Floats, NDArray[np.int64], float]
"""Features of shape (rows, targets, features), the right target of each row, and the weight of a row."""

EITHER_WAY = frozenset(
    ("cost_type_clash", "is_direct_cost", "is_expense", "is_income", "is_balance_sheet", "used_before")
)
PENALTY = 1e-3  # as in the product
ITERATIONS = 150


def fit_logit(
    blocks: Sequence[Block], start: Floats | None = None, *, bounded: bool, iterations: int = ITERATIONS
) -> Floats:
    """Return the weights that maximise the penalised likelihood.

    Args:
        blocks: The product's features come first in each.
        start: Weights to start from.
        bounded: Whether what speaks for a target may not count against it.
        iterations: At most.
    """
    width = blocks[0][0].shape[2]
    spread = np.sqrt(np.mean([block.reshape(-1, width).var(axis=0) for block, _, _ in blocks], axis=0))
    used = np.flatnonzero(spread > 1e-6)
    scale = 1 / spread[used]
    count = sum(weight * len(labels) for _, labels, weight in blocks)
    scaled = [
        (np.ascontiguousarray(block[:, :, used] * scale, np.float32), labels, weight / count)
        for block, labels, weight in blocks
    ]

    def loss(w: Floats) -> tuple[float, Floats]:
        value, gradient = PENALTY * float(w @ w), 2 * PENALTY * w
        for x, labels, share in scaled:
            rows = np.arange(len(labels))
            scores = (x @ w.astype(np.float32)).astype(np.float64)
            top = scores.max(axis=1, keepdims=True)
            exponent = np.exp(scores - top)
            total = exponent.sum(axis=1, keepdims=True)
            value += share * float((np.log(total) + top).sum() - scores[rows, labels].sum())
            surplus = (exponent / total).astype(np.float32)
            surplus[rows, labels] -= 1
            gradient = gradient + (surplus.reshape(-1) @ x.reshape(-1, len(used))).astype(np.float64) * share
        return value, gradient

    names = [*FEATURES, *("learned" for _ in range(width - len(FEATURES)))]
    bounds = [(0.0 if bounded and names[column] not in EITHER_WAY else None, None) for column in used]
    first = np.zeros(len(used)) if start is None else start[used] / scale
    options = {"maxiter": iterations, "ftol": 1e-7}
    weights = np.zeros(width)
    weights[used] = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x * scale
    return weights
