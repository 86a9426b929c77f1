"""What other companies taught, as features of a candidate: the adapted cosine, and the pool's votes."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.adaptation import Adaptation, Pairs, fit_adaptation
from crewflow_assets.cost_code_mapping.chart import Chart, Query
from crewflow_assets.cost_code_mapping.pool import FEATURES as POOL_FEATURES
from crewflow_assets.cost_code_mapping.pool import Pool, pool_features
from crewflow_assets.cost_code_mapping.ranker import Queries
from crewflow_assets.cost_code_mapping.text import normalised, spoken, unordered
from crewflow_assets.encoder import by_number, encoder

LEARNED = ("adapted", *POOL_FEATURES)
ROWS_AT_ONCE = 50_000
KEPT_MODELS = 3
"""Of one chart: 1.5 kB an account each. Champion, challenger and an arm or a pinned version."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What other companies taught."""

    adaptation: Adaptation
    pool: Pool

    def of_query(self, query: Query, chart: Chart) -> AnyFloats:
        """Return the learned features of a query's candidates, shape (len(chart), len(LEARNED))."""
        features = np.empty((1, len(LEARNED), len(chart)), np.float32)
        self.write(query.embedding[None], chart, features)
        found: AnyFloats = features[0].T
        return found

    def write(self, embeddings: AnyFloats, chart: Chart, into: AnyFloats) -> None:
        """Write the same for several queries, by their embeddings, into shape (queries, len(LEARNED), len(chart))."""
        adapted, places = _derived(self, chart)
        into[:, 0] = (self.adaptation.sources(embeddings) @ adapted.T) * self.adaptation.scale
        votes = np.zeros((len(embeddings), len(chart)), np.float32)
        if len(self.pool):
            votes[:, places >= 0] = self.pool.votes(embeddings)[:, places[places >= 0]]
        into[:, 1:] = np.moveaxis(pool_features(votes), -1, 1)

    def of_table(self, table: pd.DataFrame) -> AnyFloats:
        """Return the same for every row of a feature table."""
        source_place, sources = pd.factorize(table["source_name"])
        target_place, targets = pd.factorize(table["candidate_text"])
        embeddings = encoder().encode([unordered(source) for source in sources])
        adapted_sources = self.adaptation.sources(embeddings)
        adapted_targets = self.adaptation.targets(encoder().encode([spoken(target) for target in targets]))
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
            given = self.pool.votes(embeddings)[source_place, known]
            votes = np.where(known >= 0, given, 0).astype(np.float32)
        starts = Queries.of(table).starts
        pooled = [pool_features(votes[a:b]) for a, b in pairwise(starts)]
        return np.column_stack([adapted * self.adaptation.scale, np.concatenate(pooled)])


_DERIVED: WeakKeyDictionary[Chart, OrderedDict[Learned, tuple[AnyFloats, Ints]]] = WeakKeyDictionary()
"""By chart, and gone with it; of a chart that stays, of the models that asked last."""
_DERIVING = Lock()


def _derived(learned: Learned, chart: Chart) -> tuple[AnyFloats, Ints]:
    """Return the adapted embeddings of a chart's accounts, and their places in the pool (-1: not in it)."""
    with _DERIVING:
        kept = _DERIVED.setdefault(chart, OrderedDict())
        found = kept.get(learned)
        if found is not None:
            kept.move_to_end(learned)
            return found
    adapted = by_number(learned.adaptation.targets(chart.context_embeddings))
    places = [learned.pool.targets.get(normalised(target.name), -1) for target in chart.targets]
    found = adapted, np.array(places, np.int64)
    with _DERIVING:
        kept[learned] = found
        while len(kept) > KEPT_MODELS:
            kept.popitem(last=False)
    return found


def learn(train: pd.DataFrame, *, seed: int, pool_from: int) -> Learned:
    """Fit adaptation and pool on all companies of a table; ``pool_from``: companies behind a pooled pair."""
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


def nothing_learned() -> Learned:
    """Return the encoder's space as it is, and no pool."""
    return Learned(Adaptation.none(encoder().width), Pool.of([]))
