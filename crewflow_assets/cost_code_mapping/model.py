"""The mapping model: a ranker over text, own history and what other companies taught, and its confidence.

What is learned from other companies is fitted on some of them and used on the others (four folds of companies): for
the ranker; for the confidence, a logistic regression on what a ranker of other companies says and on how much of the
company's own history it stands on; and for the threshold, read off confidences of other companies' fits.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit

from crewflow_assets.arrays import AnyFloats, Bools, Ints, Singles
from crewflow_assets.cost_code_mapping.adaptation import Adaptation
from crewflow_assets.cost_code_mapping.chart import Chart, Query
from crewflow_assets.cost_code_mapping.confidence import (
    CHOICE,
    CONFIDENCE_INPUTS,
    confidence_inputs,
    fewest_candidates,
    fit_confidence,
)
from crewflow_assets.cost_code_mapping.features import COLUMN, write_features
from crewflow_assets.cost_code_mapping.features import FEATURES as OWN_FEATURES
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.learned import LEARNED, Learned, learn, nothing_learned
from crewflow_assets.cost_code_mapping.pool import FEWEST_COMPANIES, Pool
from crewflow_assets.cost_code_mapping.ranker import Queries, fit_conditional_logit
from crewflow_assets.encoder import checkpoint, encoder
from crewflow_assets.errors import OutdatedModelError
from crewflow_assets.evaluation.calibration import automatic_threshold
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.spec import Predictor

ALL_FEATURES = (*OWN_FEATURES, *LEARNED)
FOLDS = 4
LEVEL_DECIMALS = 4
"""Scores, log odds, that differ by less are level. The last places of two accounts of one name may differ for a text
that is asked alone and not for one that is asked with others: now the one and now the other would come first."""
FILE = "mapping.json"
TRAIN_ANEW = "train the model anew: run cost_code_mapping_training in Dagster"
FEATURES_REVISION = 2
"""Raised whenever a feature comes to mean something else, so that older versions are not asked with it.

2: sources are read in alphabetical order, and spelling is weighed by how rare an n-gram is in the chart.
"""


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the ranker says of one query: candidates best first, the probability of each, and of the first."""

    order: Ints
    probabilities: AnyFloats
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class MappingPredictor(Predictor):
    """The fitted model. ``threshold`` is the confidence from which mappings are automatic; None: never."""

    weights: AnyFloats
    confidence_weights: AnyFloats
    threshold: float | None
    person_stands: float
    """Share of people's mappings that were not corrected later."""
    learned: Learned
    fewest_candidates: int = CHOICE
    """The confidence was hardly tried on shorter charts; there the model alone is not automatic."""

    def features(self, query: Query, chart: Chart, history: History) -> AnyFloats:
        """Return every feature of a query's candidates, shape (len(chart), len(ALL_FEATURES))."""
        features: AnyFloats = self.features_of_many([query], chart, history, np.ones((1, len(history)), bool))[0].T
        return features

    def features_of_many(self, queries: Sequence[Query], chart: Chart, history: History, known: Bools) -> AnyFloats:
        """Return the same for several queries of one company, shape (len(queries), len(ALL_FEATURES), len(chart)).

        ``known``, shape (len(queries), len(history)), says what of the history each may know: all but itself.
        """
        features = np.empty((len(queries), len(ALL_FEATURES), len(chart)), np.float32)
        write_features(queries, chart, history, known, features[:, : len(OWN_FEATURES)])
        embeddings = np.stack([query.embedding for query in queries])
        self.learned.write(embeddings, chart, features[:, len(OWN_FEATURES) :])
        return features

    def rank(self, features: AnyFloats, n_history: int) -> Ranking:
        """Rank one query's candidates by ``features``, shape (candidates, len(ALL_FEATURES))."""
        [ranking] = self.rank_many(features.T[None], np.array([n_history]))
        return ranking

    def rank_many(self, features: AnyFloats, n_history: Ints) -> list[Ranking]:
        """Rank several queries' candidates by ``features``, shape (queries, len(ALL_FEATURES), candidates)."""
        scores = np.matmul(self.weights, features.astype(np.float64, copy=False))
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        ranked = np.argsort(-np.round(scores, LEVEL_DECIMALS), axis=1, kind="stable")
        orders = [_memory_first(order, row[COLUMN["memory"]]) for order, row in zip(ranked, features, strict=True)]
        firsts = np.stack([row[:, order[0]] for row, order in zip(features, orders, strict=True)])
        inputs = confidence_inputs(firsts, probabilities, orders, n_history)
        confidences = expit(inputs @ self.confidence_weights)
        return [
            Ranking(order, row, float(confidence))
            for order, row, confidence in zip(orders, probabilities, confidences, strict=True)
        ]

    def rank_table(self, table: pd.DataFrame) -> list[Ranking]:
        """Rank every query of a feature table."""
        features = np.column_stack([_own_features(table), self.learned.of_table(table)])
        return self._rank_rows(features, Queries.of(table), _history_sizes(table))

    def _rank_rows(self, features: AnyFloats, queries: Queries, history: Ints) -> list[Ranking]:
        bounds = zip(queries.starts[:-1], queries.starts[1:], history, strict=True)
        return [self.rank(features[a:b], int(n)) for a, b, n in bounds]

    def save(self, folder: Path) -> None:
        """Write weights and confidence as JSON, what was learned from others as safetensors."""
        content = {
            "weights": dict(zip(ALL_FEATURES, self.weights.tolist(), strict=True)),
            "confidence": dict(zip(("bias", *CONFIDENCE_INPUTS), self.confidence_weights.tolist(), strict=True)),
            "threshold": self.threshold,
            "person_stands": self.person_stands,
            "fewest_candidates": self.fewest_candidates,
            "features": FEATURES_REVISION,
            "encoder": {"id": encoder().id, "width": encoder().width, "checkpoint": Path(checkpoint()).name},
        }
        (folder / FILE).write_text(json.dumps(content, indent=2))
        self.learned.adaptation.save(folder)
        self.learned.pool.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; features added since have weight 0.

        Raises:
            OutdatedModelError: it was fitted on features of another meaning, or on another encoder's embeddings.
        """
        content = json.loads((folder / FILE).read_text())
        if content.get("features", 1) != FEATURES_REVISION:
            raise OutdatedModelError(
                f"this model was fitted on revision {content.get('features', 1)} of its features, and this code "
                f"makes revision {FEATURES_REVISION}; {TRAIN_ANEW}"
            )
        _check_encoder(content.get("encoder"))
        return cls(
            weights=np.array([content["weights"].get(name, 0.0) for name in ALL_FEATURES]),
            confidence_weights=np.array(
                [content["confidence"].get(name, 0.0) for name in ("bias", *CONFIDENCE_INPUTS)]
            ),
            threshold=content["threshold"],
            person_stands=content["person_stands"],
            learned=Learned(Adaptation.load(folder), Pool.load(folder)),
            fewest_candidates=content.get("fewest_candidates", CHOICE),  # older versions do not say it
        )


def _check_encoder(fitted_on: Mapping[str, Any] | None) -> None:
    """Refuse a model that reads another encoder's embeddings; models of before this was recorded pass."""
    if fitted_on is None or fitted_on["id"] == encoder().id:
        return
    if (
        fitted_on["checkpoint"] == Path(checkpoint()).name
    ):  # no setting brings back how it was computed, or what it was
        raise OutdatedModelError(
            f"this model was fitted on embeddings of {fitted_on['checkpoint']} that were computed otherwise, or of "
            f"other files of that name ({fitted_on['id']}; now {encoder().id}); {TRAIN_ANEW}"
        )
    raise OutdatedModelError(
        f"this model was fitted on the encoder {fitted_on['checkpoint']} ({fitted_on['id']}, "
        f"{fitted_on['width']} wide), but the one in force is {checkpoint()} ({encoder().id}, {encoder().width} "
        f"wide); set CREWFLOW_ENCODER to the former, or {TRAIN_ANEW}"
    )


def fit(
    table: pd.DataFrame, *, seed: int, using: Sequence[str] = ALL_FEATURES, pool_from: int = FEWEST_COMPANIES
) -> MappingPredictor:
    """Fit on the training companies of a feature table.

    Args:
        table: The feature table.
        seed: Of the adaptation.
        using: The features to use; the baselines use one or few.
        pool_from: The least number of companies behind what is pooled.

    Raises:
        ValueError: there are no training rows, or the table lacks a feature.
    """
    train = table[table["fold"] == "train"].reset_index(drop=True)
    if train.empty:
        raise ValueError("the feature table has no rows of the fold 'train'; import more companies")
    own = _own_features(train)
    queries, mask = Queries.of(train), np.array([name in using for name in ALL_FEATURES])
    fold = np.array([int(uniform("inner fold", company) * FOLDS) for company in train["company_id"]])
    needs_others = bool(set(using) & set(LEARNED))
    learned = learn(train, seed=seed, pool_from=pool_from) if needs_others else nothing_learned()
    outside = np.zeros((len(train), len(LEARNED)), np.float32)
    if needs_others:
        for held_out in np.unique(fold):
            rows = fold == held_out
            outside[rows] = learn(train[~rows], seed=seed, pool_from=pool_from).of_table(train[rows])
    features = np.column_stack([own, outside])
    history = _history_sizes(train)
    stands = float(train["stood"].to_numpy()[queries.first_rows].mean())
    weights = fit_conditional_logit(features, queries, mask)
    companies = train["company_id"].to_numpy()[queries.first_rows]
    asked = _asked_outside(features, queries, history, fold[queries.first_rows], mask)
    threshold = automatic_threshold(_confidence_outside(asked, fold[queries.first_rows]), asked.right, companies)
    confidence = fit_confidence(asked.inputs, asked.right)
    fewest = fewest_candidates(np.diff(queries.starts))
    return MappingPredictor(weights, confidence, threshold.value, stands, learned, fewest)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Training queries asked of a ranker of other companies: what the confidence reads, and what was right."""

    inputs: AnyFloats
    right: AnyFloats


def _asked_outside(
    features: AnyFloats,
    queries: Queries,
    history: Ints,
    fold: Ints,
    mask: Bools,
) -> _Asked:
    inputs, right = np.zeros((len(queries), 1 + len(CONFIDENCE_INPUTS))), np.zeros(len(queries))
    for held_out in np.unique(fold):
        inside = np.flatnonzero(fold != held_out) if (fold != held_out).any() else np.arange(len(fold))
        rows, kept = queries.only(inside)
        weights = fit_conditional_logit(features[rows], kept, mask)
        for query in np.flatnonzero(fold == held_out):
            given = features[queries.starts[query] : queries.starts[query + 1]]
            probabilities, order = _ranked(given, weights)
            sizes = history[query : query + 1]
            inputs[query] = confidence_inputs(given[order[:1]], probabilities[None], [order], sizes)[0]
            right[query] = order[0] == queries.labels[query]
    return _Asked(inputs, right)


def _confidence_outside(asked: _Asked, fold: Ints) -> AnyFloats:
    """Return each training query's confidence, fitted on the companies of the other folds."""
    confidence = np.zeros(len(fold))
    for held_out in np.unique(fold):
        mine = fold == held_out
        others = ~mine if not mine.all() else mine
        confidence[mine] = expit(asked.inputs[mine] @ fit_confidence(asked.inputs[others], asked.right[others]))
    return confidence


def _ranked(features: AnyFloats, weights: AnyFloats) -> tuple[AnyFloats, Ints]:
    """Return the candidates' probabilities, and their places from the best on."""
    scores = features @ weights
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return probabilities, _memory_first(np.argsort(-probabilities, kind="stable"), features[:, COLUMN["memory"]])


def _own_features(table: pd.DataFrame) -> Singles:
    """Return the columns of the features.

    Raises:
        ValueError: the table was made before there were some of them.
    """
    missing = [name for name in OWN_FEATURES if name not in table]
    if missing:
        raise ValueError(f"the feature table has no column {', '.join(missing)}; make it anew with this version")
    features: Singles = table[list(OWN_FEATURES)].to_numpy(np.float32)
    return features


def _history_sizes(table: pd.DataFrame) -> Ints:
    sizes: Ints = table["n_history"].to_numpy(np.int64)[Queries.of(table).first_rows]
    return sizes


def _memory_first(order: Ints, memory: AnyFloats) -> Ints:
    """Put the account first to which the company mapped every code of the same name (memory before model)."""
    remembered = int(np.argmax(memory))
    if memory[remembered] < 1:
        return order
    return np.concatenate([[remembered], order[order != remembered]])
