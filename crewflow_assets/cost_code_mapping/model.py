"""The mapping model: a ranker over text, own history and what other companies taught, and its confidence.

What is learned from other companies is fitted on some of them and used on the others (four folds of companies): for
the ranker; for the confidence, a logistic regression on what a ranker of other companies says and on how much of the
company's own history it stands on; and for the threshold, read off confidences of other companies' fits.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from crewflow_assets.cost_code_mapping.adaptation import Adaptation, Pairs, fit_adaptation
from crewflow_assets.cost_code_mapping.chart import Chart, Query
from crewflow_assets.cost_code_mapping.features import COLUMN, write_features
from crewflow_assets.cost_code_mapping.features import FEATURES as OWN_FEATURES
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.pool import FEATURES as POOL_FEATURES
from crewflow_assets.cost_code_mapping.pool import FEWEST_COMPANIES, Pool, pool_features
from crewflow_assets.cost_code_mapping.ranker import Queries, fit_conditional_logit
from crewflow_assets.cost_code_mapping.text import normalised, spoken
from crewflow_assets.encoder import checkpoint, encoder
from crewflow_assets.errors import NotReadyError
from crewflow_assets.evaluation.calibration import automatic_threshold
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.spec import Predictor

Floats = NDArray[np.floating]

LEARNED = ("adapted", *POOL_FEATURES)
ALL_FEATURES = (*OWN_FEATURES, *LEARNED)
FOLDS = 4
ROWS_AT_ONCE = 50_000
CONFIDENCE_INPUTS = (
    *("logit_first", "margin", "log_history", "own_share", "nearest", "memory", "log_candidates", "entropy"),
    "margin_by_history",
)
FILE = "mapping.json"


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the ranker says of one query: candidates best first, the probability of each, and of the first."""

    order: NDArray[np.int64]
    probabilities: Floats
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What other companies taught."""

    adaptation: Adaptation
    pool: Pool

    def of_query(self, query: Query, chart: Chart) -> Floats:
        """Return the learned features of a query's candidates, shape (len(chart), len(LEARNED))."""
        features = np.empty((1, len(LEARNED), len(chart)), np.float32)
        self.write(query.embedding[None], chart, features)
        found: Floats = features[0].T
        return found

    def write(self, embeddings: Floats, chart: Chart, into: Floats) -> None:
        """Write the same for several queries, by their embeddings, into shape (queries, len(LEARNED), len(chart))."""
        into[:, 0] = (self.adaptation.sources(embeddings) @ _adapted_chart(self, chart).T) * self.adaptation.scale
        places = _pool_places(self, chart)
        votes = np.zeros((len(embeddings), len(chart)), np.float32)
        if len(self.pool):
            votes[:, places >= 0] = self.pool.votes(embeddings)[:, places[places >= 0]]
        into[:, 1:] = np.moveaxis(pool_features(votes), -1, 1)

    def of_table(self, table: pd.DataFrame) -> Floats:
        """Return the same for every row of a feature table."""
        source_place, sources = pd.factorize(table["source_name"])
        target_place, targets = pd.factorize(table["candidate_text"])
        adapted_sources = self.adaptation.sources(_encode(sources))
        adapted_targets = self.adaptation.targets(_encode(targets))
        adapted = np.empty(len(table), np.float32)
        for start in range(0, len(table), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            adapted[rows] = np.einsum(
                "ij,ij->i", adapted_sources[source_place[rows]], adapted_targets[target_place[rows]]
            )
        votes = np.zeros(len(table), np.float32)
        if len(self.pool):
            name_place, names = pd.factorize(table["candidate_name"])
            known = np.array([self.pool.targets.get(normalised(name), -1) for name in names])[name_place]
            given = self.pool.votes(_encode(sources))[source_place, known]
            votes = np.where(known >= 0, given, 0).astype(np.float32)
        starts = Queries.of(table).starts
        pooled = [pool_features(votes[a:b]) for a, b in pairwise(starts)]
        return np.column_stack([adapted * self.adaptation.scale, np.concatenate(pooled)])


def _encode(texts: Iterable[str]) -> NDArray[np.float32]:
    return encoder().encode([spoken(text) for text in texts])


@lru_cache(maxsize=64)
def _adapted_chart(learned: Learned, chart: Chart) -> Floats:
    return learned.adaptation.targets(chart.context_embeddings)


@lru_cache(maxsize=64)
def _pool_places(learned: Learned, chart: Chart) -> NDArray[np.int64]:
    return np.array([learned.pool.targets.get(normalised(target.name), -1) for target in chart.targets], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class MappingPredictor(Predictor):
    """The fitted model. ``threshold`` is the confidence from which mappings are automatic; None: never."""

    weights: Floats
    confidence_weights: Floats
    threshold: float | None
    person_stands: float
    """Share of people's mappings that were not corrected later."""
    learned: Learned

    def features(self, query: Query, chart: Chart, history: History) -> Floats:
        """Return every feature of a query's candidates, shape (len(chart), len(ALL_FEATURES))."""
        features: Floats = self.features_of_many([query], chart, history, np.ones((1, len(history)), bool))[0].T
        return features

    def features_of_many(
        self, queries: Sequence[Query], chart: Chart, history: History, known: NDArray[np.bool_]
    ) -> Floats:
        """Return the same for several queries of one company, shape (len(queries), len(ALL_FEATURES), len(chart)).

        ``known``, shape (len(queries), len(history)), says what of the history each may know: all but itself.
        """
        features = np.empty((len(queries), len(ALL_FEATURES), len(chart)), np.float32)
        write_features(queries, chart, history, known, features[:, : len(OWN_FEATURES)])
        embeddings = np.stack([query.embedding for query in queries])
        self.learned.write(embeddings, chart, features[:, len(OWN_FEATURES) :])
        return features

    def rank(self, features: Floats, n_history: int) -> Ranking:
        """Rank one query's candidates by ``features``, shape (candidates, len(ALL_FEATURES))."""
        [ranking] = self.rank_many(features.T[None], np.array([n_history]))
        return ranking

    def rank_many(self, features: Floats, n_history: NDArray[np.int64]) -> list[Ranking]:
        """Rank several queries' candidates by ``features``, shape (queries, len(ALL_FEATURES), candidates)."""
        scores = np.matmul(self.weights, features.astype(np.float64, copy=False))
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        orders = [
            _memory_first(order, row[COLUMN["memory"]])
            for order, row in zip(np.argsort(-probabilities, axis=1, kind="stable"), features, strict=True)
        ]
        firsts = np.stack([row[:, order[0]] for row, order in zip(features, orders, strict=True)])
        inputs = _confidence_inputs(firsts, probabilities, orders, n_history)
        confidences = expit(inputs @ self.confidence_weights)
        return [
            Ranking(order, row, float(confidence))
            for order, row, confidence in zip(orders, probabilities, confidences, strict=True)
        ]

    def rank_table(self, table: pd.DataFrame) -> list[Ranking]:
        """Rank every query of a feature table."""
        return self._rank_rows(_matrix(table, self.learned.of_table(table)), Queries.of(table), _history_sizes(table))

    def _rank_rows(self, features: Floats, queries: Queries, history: NDArray[np.int64]) -> list[Ranking]:
        bounds = zip(queries.starts[:-1], queries.starts[1:], history, strict=True)
        return [self.rank(features[a:b], int(n)) for a, b, n in bounds]

    def save(self, folder: Path) -> None:
        """Write weights and confidence as JSON, what was learned from others as safetensors."""
        content = {
            "weights": dict(zip(ALL_FEATURES, self.weights.tolist(), strict=True)),
            "confidence": dict(zip(("bias", *CONFIDENCE_INPUTS), self.confidence_weights.tolist(), strict=True)),
            "threshold": self.threshold,
            "person_stands": self.person_stands,
            "encoder": {"id": encoder().id, "width": encoder().width, "checkpoint": Path(checkpoint()).name},
        }
        (folder / FILE).write_text(json.dumps(content, indent=2))
        self.learned.adaptation.save(folder)
        self.learned.pool.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; features added since have weight 0.

        Raises:
            NotReadyError: it was fitted on another encoder's embeddings than the one in force gives.
        """
        content = json.loads((folder / FILE).read_text())
        _check_encoder(content.get("encoder"))
        return cls(
            weights=np.array([content["weights"].get(name, 0.0) for name in ALL_FEATURES]),
            confidence_weights=np.array(
                [content["confidence"].get(name, 0.0) for name in ("bias", *CONFIDENCE_INPUTS)]
            ),
            threshold=content["threshold"],
            person_stands=content["person_stands"],
            learned=Learned(Adaptation.load(folder), Pool.load(folder)),
        )


def _check_encoder(fitted_on: Mapping[str, Any] | None) -> None:
    """Refuse a model that reads another encoder's embeddings; models of before this was recorded pass."""
    if fitted_on is not None and fitted_on["id"] != encoder().id:
        raise NotReadyError(
            f"this model was fitted on the encoder {fitted_on['checkpoint']} ({fitted_on['id']}, "
            f"{fitted_on['width']} wide), but the one in force is {checkpoint()} ({encoder().id}, {encoder().width} "
            "wide); set CREWFLOW_ENCODER to the former, or train the model anew"
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
        ValueError: there are no training rows.
    """
    train = table[table["fold"] == "train"].reset_index(drop=True)
    if train.empty:
        raise ValueError("the feature table has no rows of the fold 'train'; import more companies")
    queries, mask = Queries.of(train), np.array([name in using for name in ALL_FEATURES])
    fold = np.array([int(uniform("inner fold", company) * FOLDS) for company in train["company_id"]])
    needs_others = bool(set(using) & set(LEARNED))
    learned = _learn(train, seed, pool_from) if needs_others else _nothing_learned()
    outside = np.zeros((len(train), len(LEARNED)), np.float32)
    if needs_others:
        for held_out in np.unique(fold):
            rows = fold == held_out
            outside[rows] = _learn(train[~rows], seed, pool_from).of_table(train[rows])
    features = _matrix(train, outside)
    history = _history_sizes(train)
    stands = float(train["stood"].to_numpy()[queries.first_rows].mean())
    weights = fit_conditional_logit(features, queries, mask)
    companies = train["company_id"].to_numpy()[queries.first_rows]
    asked = _asked_outside(features, queries, history, fold[queries.first_rows], mask)
    threshold = automatic_threshold(_confidence_outside(asked, fold[queries.first_rows]), asked.right, companies)
    return MappingPredictor(weights, _fit_confidence(asked.inputs, asked.right), threshold.value, stands, learned)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Training queries asked of a ranker of other companies: what the confidence reads, and what was right."""

    inputs: Floats
    right: Floats


def _asked_outside(
    features: Floats, queries: Queries, history: NDArray[np.int64], fold: NDArray[np.int64], mask: NDArray[np.bool_]
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
            inputs[query] = _confidence_inputs(given[order[:1]], probabilities[None], [order], sizes)[0]
            right[query] = order[0] == queries.labels[query]
    return _Asked(inputs, right)


def _confidence_outside(asked: _Asked, fold: NDArray[np.int64]) -> Floats:
    """Return each training query's confidence, fitted on the companies of the other folds."""
    confidence = np.zeros(len(fold))
    for held_out in np.unique(fold):
        mine = fold == held_out
        others = ~mine if not mine.all() else mine
        confidence[mine] = expit(asked.inputs[mine] @ _fit_confidence(asked.inputs[others], asked.right[others]))
    return confidence


def _ranked(features: Floats, weights: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the candidates' probabilities, and their places from the best on."""
    scores = features @ weights
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return probabilities, _memory_first(np.argsort(-probabilities, kind="stable"), features[:, COLUMN["memory"]])


def _matrix(table: pd.DataFrame, learned: Floats) -> Floats:
    return np.column_stack([table[list(OWN_FEATURES)].to_numpy(np.float32), learned])


def _history_sizes(table: pd.DataFrame) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = table["n_history"].to_numpy(np.int64)[Queries.of(table).first_rows]
    return sizes


def _learn(train: pd.DataFrame, seed: int, pool_from: int) -> Learned:
    """Fit adaptation and pool on all companies of a table."""
    right = train[train["label"] == 1].drop_duplicates(["company_id", "system", "kind", "source_code"])
    pairs = []
    for chart, rows in train.groupby(["company_id", "system"], sort=True):
        targets = rows["candidate_text"].drop_duplicates().tolist()
        place = {text: i for i, text in enumerate(targets)}
        mine = right[(right["company_id"] == chart[0]) & (right["system"] == chart[1])]
        labels = np.array([place[text] for text in mine["candidate_text"]], np.int64)
        pairs.append(Pairs(tuple(mine["source_name"]), tuple(targets), labels))
    decisions = zip(right["company_id"], right["source_name"], right["candidate_name"], strict=True)
    return Learned(fit_adaptation(pairs, seed=seed), Pool.of(decisions, least=pool_from))


def _nothing_learned() -> Learned:
    return Learned(Adaptation.none(encoder().width), Pool.of([]))


def _memory_first(order: NDArray[np.int64], memory: Floats) -> NDArray[np.int64]:
    """Put the account first to which the company mapped every code of the same name (memory before model)."""
    remembered = int(np.argmax(memory))
    if memory[remembered] < 1:
        return order
    return np.concatenate([[remembered], order[order != remembered]])


def _confidence_inputs(
    firsts: Floats, probabilities: Floats, orders: Sequence[NDArray[np.int64]], n_history: NDArray[np.int64]
) -> Floats:
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


def _fit_confidence(inputs: Floats, right: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression  # seconds to import; serving does not need it

    if right.all() or not right.any():
        share = (right.sum() + 1) / (len(right) + 2)
        return np.concatenate([[np.log(share / (1 - share))], np.zeros(len(CONFIDENCE_INPUTS))])
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(inputs[:, 1:], right)
    return np.concatenate([fitted.intercept_, fitted.coef_[0]])
