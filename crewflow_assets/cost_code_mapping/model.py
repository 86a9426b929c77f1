"""The ranker: a conditional logit over the candidates of a chart, and the confidence in its first choice.

The probability that a code belongs to account j of its chart is exp(x_j·w) / Σ_k exp(x_k·w) (McFadden 1974,
"Conditional logit analysis of qualitative choice behavior"), so any chart can be ranked, seen before or not.
The confidence is a logistic regression on what the ranker says and on how little history it stands on, fitted on
companies that the ranker was not fitted on.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from crewflow_assets.cost_code_mapping.features import COLUMN, FEATURES
from crewflow_assets.evaluation.calibration import automatic_threshold
from crewflow_assets.spec import Predictor

Floats = NDArray[np.floating]

PENALTY = 1e-3  # of the squared standardised weights, for each query
CONFIDENCE_INPUTS = ("logit_first", "margin", "log_history", "own_share", "memory", "log_candidates")
FILE = "mapping.json"


@dataclass(frozen=True, slots=True)
class Queries:
    """Candidates of many queries in one long table: rows of query q are ``starts[q]`` to ``starts[q + 1]``."""

    features: Floats
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]
    """Row number, within the query, of the right candidate."""
    history: Floats
    """History size of each query."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> Self:
        """Read the feature table; rows of one query stand together, exactly one of them labelled 1."""
        query = table["query"].to_numpy()
        starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]])
        label_rows = np.flatnonzero(table["label"].to_numpy() == 1)
        return cls(
            features=table[list(FEATURES)].to_numpy(np.float64),
            starts=np.r_[starts, len(table)].astype(np.int64),
            labels=(label_rows - starts).astype(np.int64),
            history=table["n_history"].to_numpy(np.float64)[starts],
        )

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the ranker says of one query."""

    order: NDArray[np.int64]
    probabilities: Floats
    confidence: float


@dataclass(frozen=True, slots=True)
class MappingPredictor(Predictor):
    """The fitted ranker. ``threshold`` is the confidence from which mappings are automatic; None: never."""

    weights: Floats
    confidence_weights: Floats
    threshold: float | None
    person_stands: float
    """Share of people's mappings that were not corrected later."""

    def rank(self, features: Floats, n_history: int) -> Ranking:
        """Rank one query's candidates; ``features`` as ``candidate_features`` gives them."""
        scores = features @ self.weights
        probabilities = np.exp(scores - scores.max())
        probabilities /= probabilities.sum()
        order = _memory_first(np.argsort(-probabilities, kind="stable"), features[:, COLUMN["memory"]])
        inputs = _confidence_inputs(features, probabilities, order, n_history)
        return Ranking(order, probabilities, float(expit(inputs @ self.confidence_weights)))

    def rank_all(self, queries: Queries) -> list[Ranking]:
        """Rank many queries."""
        return [
            self.rank(queries.features[a:b], int(n))
            for a, b, n in zip(queries.starts[:-1], queries.starts[1:], queries.history, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the predictor as JSON."""
        content = {
            "weights": dict(zip(FEATURES, self.weights.tolist(), strict=True)),
            "confidence": dict(zip(("bias", *CONFIDENCE_INPUTS), self.confidence_weights.tolist(), strict=True)),
            "threshold": self.threshold,
            "person_stands": self.person_stands,
        }
        (folder / FILE).write_text(json.dumps(content, indent=2))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; features added since have weight 0."""
        content = json.loads((folder / FILE).read_text())
        return cls(
            weights=np.array([content["weights"].get(name, 0.0) for name in FEATURES]),
            confidence_weights=np.array([content["confidence"][name] for name in ("bias", *CONFIDENCE_INPUTS)]),
            threshold=content["threshold"],
            person_stands=content["person_stands"],
        )


def fit(table: pd.DataFrame, *, using: tuple[str, ...] = FEATURES) -> MappingPredictor:
    """Fit the ranker on the training companies and its confidence on the calibration companies.

    Args:
        table: The feature table.
        using: The features to use; the baselines use one or few.

    Raises:
        ValueError: a fold has no rows.
    """
    folds = dict(iter(table.groupby("fold", sort=False)))
    for fold in ("train", "calibration"):
        if fold not in folds:
            raise ValueError(f"the feature table has no rows of the fold {fold!r}; import more companies")
    train = folds["train"]
    weights = fit_conditional_logit(Queries.of(train), using)
    calibration = folds["calibration"]
    queries = Queries.of(calibration)
    bare = MappingPredictor(weights, np.zeros(1 + len(CONFIDENCE_INPUTS)), None, float("nan"))
    confidence_weights = _fit_confidence(bare, queries)
    stands = float(train.loc[train["label"] == 1, "stood"].mean())
    fitted = MappingPredictor(weights, confidence_weights, None, stands)
    rankings = fitted.rank_all(queries)
    right = np.array([r.order[0] == label for r, label in zip(rankings, queries.labels, strict=True)], float)
    companies = calibration["company_id"].to_numpy()[queries.starts[:-1]]
    threshold = automatic_threshold(np.array([r.confidence for r in rankings]), right, companies)
    return MappingPredictor(weights, confidence_weights, threshold.value, stands)


def fit_conditional_logit(queries: Queries, using: tuple[str, ...] = FEATURES) -> Floats:
    """Return the weights that maximise the penalised likelihood (L-BFGS); 0 for features not in ``using``."""
    mask = np.array([name in using for name in FEATURES])
    scale = np.where(mask, 1 / np.maximum(queries.features.std(axis=0), 1e-6), 0.0)
    x = queries.features * scale
    starts = queries.starts[:-1]
    lengths = np.diff(queries.starts)
    chosen = x[starts + queries.labels]

    def loss(w: Floats) -> tuple[float, Floats]:
        scores = x @ w
        top = np.maximum.reduceat(scores, starts)
        exponent = np.exp(scores - np.repeat(top, lengths))
        total = np.add.reduceat(exponent, starts)
        probability = exponent / np.repeat(total, lengths)
        value = float(np.sum(np.log(total) + top) - np.sum(chosen @ w)) / len(queries) + PENALTY * float(w @ w)
        gradient = (x.T @ probability - chosen.sum(axis=0)) / len(queries) + 2 * PENALTY * w
        return value, gradient

    result = minimize(loss, np.zeros(len(FEATURES)), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(result.x * scale, np.float64)


def _memory_first(order: NDArray[np.int64], memory: Floats) -> NDArray[np.int64]:
    """Put the account first to which the company mapped every code of the same name (memory before model)."""
    remembered = int(np.argmax(memory))
    if memory[remembered] < 1:
        return order
    return np.concatenate([[remembered], order[order != remembered]])


def _confidence_inputs(features: Floats, probabilities: Floats, order: NDArray[np.int64], n_history: int) -> Floats:
    first = features[order[0]]
    p = float(np.clip(probabilities[order[0]], 1e-6, 1 - 1e-6))
    second = float(probabilities[order[1]]) if len(order) > 1 else 1e-6
    return np.array(
        [
            1.0,
            np.log(p / (1 - p)),
            np.log(p / max(second, 1e-6)),
            np.log1p(n_history) / 5,
            first[COLUMN["share_group"]] + first[COLUMN["share_prefix"]],
            first[COLUMN["memory"]],
            np.log(len(probabilities)) / 5,
        ]
    )


def _fit_confidence(predictor: MappingPredictor, queries: Queries) -> Floats:
    from sklearn.linear_model import LogisticRegression

    rankings = predictor.rank_all(queries)
    right = np.array([r.order[0] == label for r, label in zip(rankings, queries.labels, strict=True)])
    inputs = np.array(
        [
            _confidence_inputs(queries.features[a:b], r.probabilities, r.order, int(n))
            for r, a, b, n in zip(rankings, queries.starts[:-1], queries.starts[1:], queries.history, strict=True)
        ]
    )
    if right.all() or not right.any():
        share = (right.sum() + 1) / (len(right) + 2)
        return np.concatenate([[np.log(share / (1 - share))], np.zeros(len(CONFIDENCE_INPUTS))])
    fitted = LogisticRegression(C=1.0).fit(inputs[:, 1:], right)
    return np.concatenate([fitted.intercept_, fitted.coef_[0]])
