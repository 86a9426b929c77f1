"""The product's conditional logit, with weights for blocks of rows and a bound for when there is but one firm.

One firm that uses each target once teaches that a used target is wrong, and the next firm is ranked backwards.
Bounding the weights of all similarities and shares at 0 forbids that lesson; two firms already contradict it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.features import FEATURES

Block = tuple[AnyFloats, Ints, float]
"""Features of shape (rows, targets, features), the right target of each row, and the weight of a row."""

EITHER_WAY = frozenset(
    ("cost_type_clash", "is_direct_cost", "is_expense", "is_income", "is_balance_sheet", "used_before")
)
PENALTY = 1e-3  # as in the product
PRIOR_STRENGTH = 56.0  # of the squared distance to the prior, beside 1 for a code's log likelihood; of four tried
ITERATIONS = 150
REFIT_ITERATIONS = 40
SIMULATED = 6  # place, among what is learned, of what simulated companies taught


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How a ranker is fitted.

    ``prior``: weights that the penalty draws to; None: to 0, and not by the features of ``SIMULATED``.
    ``bounded``: whether what speaks for a target may not count against it.
    """

    prior: AnyFloats | None
    bounded: bool


@dataclass(frozen=True, slots=True, eq=False)
class Practised:
    """A fitted ranker, and what rankers fitted on half of the codes said of the other half."""

    recipe: Recipe
    weights: AnyFloats
    scores: tuple[AnyFloats, ...]
    """Of each block."""
    likelihood: float


def fit_practised(blocks: Sequence[Block], part: Ints, recipe: Recipe) -> Practised:
    """Fit on all codes, and on halves made of whole parts."""
    weights = fit_logit(blocks, recipe)
    scores = tuple(np.zeros(features.shape[:2]) for features, _, _ in blocks)
    likelihood = 0.0
    half = part % 2 if part.any() else np.arange(len(part)) % 2
    for out in (half == 0, half == 1):
        if out.all() or not out.any():
            continue
        inside = [(features[~out], labels[~out], weight) for features, labels, weight in blocks]
        inner = fit_logit(inside, recipe)
        for (features, labels, _), said in zip(blocks, scores, strict=True):
            said[out] = features[out] @ inner
            likelihood += float(log_softmax(said[out], axis=1)[np.arange(out.sum()), labels[out]].sum())
    return Practised(recipe, weights, scores, likelihood)


def fit_logit(
    blocks: Sequence[Block], recipe: Recipe, *, start: AnyFloats | None = None, iterations: int = ITERATIONS
) -> AnyFloats:
    """Return the weights that maximise the penalised likelihood.

    Args:
        blocks: The product's features come first in each.
        recipe: See Recipe.
        start: Weights to start from.
        iterations: At most.
    """
    prior, bounded = recipe.prior, recipe.bounded
    width = blocks[0][0].shape[2]
    spread = np.sqrt(np.mean([block.reshape(-1, width).var(axis=0) for block, _, _ in blocks], axis=0))
    used = np.flatnonzero(spread > 1e-6)
    if prior is None:
        used = used[used != len(FEATURES) + SIMULATED]
    scale = 1 / spread[used]
    count = sum(weight * len(labels) for _, labels, weight in blocks)
    scaled = [
        (np.ascontiguousarray(block[:, :, used] * scale, np.float32), labels, weight / count)
        for block, labels, weight in blocks
    ]

    centre = np.zeros(len(used)) if prior is None else prior[used] / scale
    penalty = PENALTY if prior is None else PRIOR_STRENGTH / count

    def loss(w: AnyFloats) -> tuple[float, AnyFloats]:
        away = w - centre
        value, gradient = penalty * float(away @ away), 2 * penalty * away
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
    first = centre if start is None else start[used] / scale
    if bounded:
        first = np.maximum(first, [-np.inf if low is None else low for low, _ in bounds])
    options = {"maxiter": iterations, "ftol": 1e-7}
    weights = np.zeros(width)
    weights[used] = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x * scale
    return weights
