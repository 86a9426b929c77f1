"""From a cost code, a chart and the company's own history to one feature row for each candidate account.

``candidate_features`` is the one function for training and serving alike (P4): training hands it the history as it
stood before the decision, serving the history as it stands now.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crewflow_assets.cost_code_mapping.text import (
    DIMENSIONS,
    code_prefix,
    cost_type,
    normalised,
    spoken,
    vectors,
    words,
)
from crewflow_assets.encoder import encoder

Floats = NDArray[np.float32]

FEATURES = (
    "name_similarity",
    "context_similarity",
    "encoder_name",
    "source_covered",
    "target_covered",
    "cost_type_match",
    "cost_type_clash",
    "is_direct_cost",
    "is_expense",
    "is_income",
    "is_balance_sheet",
    "code_match",
    "used_before",
    "log_share_all",
    "log_share_group",
    "log_share_prefix",
    "log_share_cost_type",
    "log_share_group_type",
    "log_share_prefix_type",
    "share_group",
    "share_prefix",
    "nearest",
    "nearest_spelling",
    "neighbours",
    "memory",
)
ACCOUNT_KINDS = ("direct_cost", "expense", "income", "balance_sheet")
COLUMN = {name: index for index, name in enumerate(FEATURES)}

PRIOR = 0.2  # pseudo-count of an account that has not been used
NEIGHBOUR_SHARPNESS = 9.0  # weight of a neighbour: exp(-9 (1 - cosine)), about 1/90 at cosine .5


@dataclass(frozen=True, slots=True)
class Source:
    """What is mapped, as far as its text goes."""

    kind: str
    code: str
    name: str
    description: str | None
    group: str | None
    project_type: str | None
    industry: str

    @property
    def context(self) -> str:
        """All words about it."""
        return " ".join(part for part in (self.name, self.description, self.group, self.project_type) if part)


@dataclass(frozen=True, slots=True)
class Target:
    """A candidate account."""

    code: str
    name: str
    type: str | None
    parent: str | None

    @property
    def context(self) -> str:
        """Its name under its parents, in words."""
        return f"{self.parent} {self.name}".replace(":", " ") if self.parent else self.name


@dataclass(frozen=True, slots=True)
class Query:
    """A source, prepared for comparison: spelling vectors of shape (1, 2**14), embeddings of shape (width,)."""

    source: Source
    name: sparse.csr_matrix
    context: sparse.csr_matrix
    embedding: Floats
    words: frozenset[str]
    cost_type: str | None
    prefix: str
    memory: str


def prepare(sources: Sequence[Source]) -> list[Query]:
    """Prepare sources; many at once are cheaper than one by one."""
    names, contexts = vectors([s.name for s in sources]), vectors([s.context for s in sources])
    embeddings = encoder().encode([spoken(s.name) for s in sources])
    return [
        Query(
            source=source,
            name=names[i],
            context=contexts[i],
            embedding=embeddings[i],
            words=frozenset(words(source.name)),
            cost_type=cost_type(source.name, source.code),
            prefix=code_prefix(source.code),
            memory=normalised(source.name),
        )
        for i, source in enumerate(sources)
    ]


class Chart:
    """A chart of accounts, prepared once for comparison with many sources."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self.position = {target.code: i for i, target in enumerate(self.targets)}
        self.names = vectors([target.name for target in self.targets])
        self.names_by_gram = self.names.T.tocsr()
        self.contexts_by_gram = vectors([target.context for target in self.targets]).T.tocsr()
        self.embeddings = encoder().encode([spoken(target.name) for target in self.targets])
        self.context_embeddings = encoder().encode([spoken(target.context) for target in self.targets])
        vocabularies = [frozenset(words(target.context)) for target in self.targets]
        self.cost_types = np.array([cost_type(t.name) or cost_type(t.parent or "") for t in self.targets], object)
        kinds = [account_kind(target.type) for target in self.targets]
        self.kind = {kind: np.array([k == kind for k in kinds], np.float32) for kind in ACCOUNT_KINDS}
        having: dict[str, list[int]] = {}
        for place, vocabulary in enumerate(vocabularies):
            for word in vocabulary:
                having.setdefault(word, []).append(place)
        self._having = {word: np.array(places, np.int64) for word, places in having.items()}
        self.told = np.maximum(self.shared_words(frozenset(having)), 1e-6)
        self._codes = "\n".join(target.code for target in self.targets)
        self._code_ends = np.cumsum([len(target.code) + 1 for target in self.targets])

    def __len__(self) -> int:
        return len(self.targets)

    def tells(self, wanted: frozenset[str]) -> float:
        """Return how much words tell apart: the sum of ``log(1 + accounts / accounts with the word)``."""
        return sum(self._tells(word) for word in wanted)

    def _tells(self, word: str) -> float:
        return math.log1p(len(self) / max(1, len(self._having.get(word, ()))))

    def shared_words(self, wanted: frozenset[str]) -> Floats:
        """Return how much the words that stand in each account's name or parent tell apart, shape (len(self),)."""
        shared = np.zeros(len(self), np.float32)
        for word in wanted:
            if word in self._having:
                shared[self._having[word]] += self._tells(word)
        return shared

    def having_digits(self, code: str) -> Floats:
        """Return 1 for each account whose number contains a code's digits, three at least, shape (len(self),)."""
        digits = "".join(character for character in code if character.isdigit())
        having = np.zeros(len(self), np.float32)
        if len(digits) >= 3:
            at = self._codes.find(digits)
            while at >= 0:
                place = int(np.searchsorted(self._code_ends, at, side="right"))
                having[place] = 1
                at = self._codes.find(digits, int(self._code_ends[place]))
        return having


_BALANCE_SHEET = re.compile(
    "asset|liab|equity|bank|receivab|payab|credit|inventory|current|fixed|loan|prepay|cash|capital|stock"
)


def account_kind(account_type: str | None) -> str | None:
    """Sort an account type into direct_cost, expense, income or balance_sheet; None if it says none of these.

    Types come as people read them ("Cost of Goods Sold") or as the systems' interfaces write them
    ("CostOfGoodsSold", "DIRECTCOSTS", "DEPRECIATN").
    """
    spelt = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", account_type or "")
    found, run_together = set(words(spelt)), spelt.replace(" ", "").casefold()
    if found & {"indirect", "overhead"}:
        return "expense"
    if found & {"cost", "direct", "cog"} or run_together.startswith("directcost"):
        return "direct_cost"
    if "expense" in run_together or run_together.startswith("depreciat"):
        return "expense"
    if found & {"income", "revenue", "sale"} or run_together.endswith("income"):
        return "income"
    return "balance_sheet" if _BALANCE_SHEET.search(run_together) else None


@dataclass(frozen=True, slots=True)
class History:
    """A company's mapped items, oldest first, with the position of their account in the chart (-1 if gone)."""

    positions: NDArray[np.int64]
    contexts: sparse.csr_matrix
    embeddings: Floats
    kinds: NDArray[np.object_]
    memories: NDArray[np.object_]
    groups: NDArray[np.object_]
    prefixes: NDArray[np.object_]
    cost_types: NDArray[np.object_]

    @classmethod
    def of(cls, queries: Sequence[Query], target_codes: Sequence[str | None], chart: Chart) -> Self:
        """Prepare a history for a chart."""
        empty = sparse.csr_matrix((0, DIMENSIONS), dtype=np.float32)
        return cls(
            positions=np.array([chart.position.get(code or "", -1) for code in target_codes], np.int64),
            contexts=sparse.vstack([query.context for query in queries], format="csr") if queries else empty,
            embeddings=_stacked([query.embedding for query in queries]),
            kinds=np.array([query.source.kind for query in queries], object),
            memories=np.array([query.memory for query in queries], object),
            groups=np.array([query.source.group for query in queries], object),
            prefixes=np.array([query.prefix for query in queries], object),
            cost_types=np.array([query.cost_type for query in queries], object),
        )

    def only(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> "History":
        """Return some of the items, with the accounts that they had at another moment or have in another chart."""
        return History(
            positions=positions,
            contexts=self.contexts[rows],
            embeddings=self.embeddings[rows],
            kinds=self.kinds[rows],
            memories=self.memories[rows],
            groups=self.groups[rows],
            prefixes=self.prefixes[rows],
            cost_types=self.cost_types[rows],
        )

    def usable(self, kind: str) -> NDArray[np.bool_]:
        """Say which items tell something of an item of a kind: those of the kind whose account is in the chart."""
        told: NDArray[np.bool_] = (self.positions >= 0) & (self.kinds == kind)
        return told

    def __len__(self) -> int:
        return len(self.positions)


def _stacked(embeddings: Sequence[Floats]) -> Floats:
    return np.stack(embeddings) if embeddings else np.zeros((0, encoder().width), np.float32)


def candidate_features(query: Query, chart: Chart, history: History) -> Floats:
    """Return the features of every candidate, shape (len(chart), len(FEATURES)); ``FEATURES`` names the columns.

    The source itself must not be in the history.
    """
    features: Floats = features_of_many([query], chart, history, np.ones((1, len(history)), bool))[0]
    return features


def features_of_many(queries: Sequence[Query], chart: Chart, history: History, known: NDArray[np.bool_]) -> Floats:
    """Return the same for several queries of one company, shape (len(queries), len(chart), len(FEATURES)).

    ``known``, shape (len(queries), len(history)), says what of the history each may know: all but itself.
    """
    columns = _text_features(queries, chart) | _history_features(queries, chart, history, known)
    features = np.empty((len(queries), len(chart), len(FEATURES)), np.float32)
    for place, name in enumerate(FEATURES):
        features[:, :, place] = columns[name]
    return features


# In the two functions below the first axis is the query, the second the candidate or the mapped item; what is the
# same for every query may leave the first out.


def _text_features(queries: Sequence[Query], chart: Chart) -> dict[str, NDArray[np.floating]]:
    shared = np.stack([chart.shared_words(query.words) for query in queries])
    cost_types = _column([query.cost_type for query in queries])
    same_type = chart.cost_types == cost_types
    known = (cost_types != None).astype(np.float32)  # noqa: E711 - elementwise
    cost = np.array([[0.0 if query.source.kind == "project" else 1.0] for query in queries], np.float32)
    return {
        "name_similarity": _spelling([query.name for query in queries], chart.names_by_gram),
        "context_similarity": _spelling([query.context for query in queries], chart.contexts_by_gram),
        "encoder_name": np.stack([query.embedding for query in queries]) @ chart.embeddings.T,
        "source_covered": shared / np.array([[chart.tells(query.words) or 1.0] for query in queries], np.float32),
        "target_covered": shared / chart.told,
        "cost_type_match": known * same_type,
        "cost_type_clash": known * (~same_type & (chart.cost_types != None)),  # noqa: E711 - elementwise
        "is_direct_cost": chart.kind["direct_cost"] * cost,
        "is_expense": chart.kind["expense"] * cost,
        "is_income": chart.kind["income"] * (1 - 2 * cost),
        "is_balance_sheet": chart.kind["balance_sheet"],
        "code_match": np.stack([chart.having_digits(query.source.code) for query in queries]),
    }


def _history_features(
    queries: Sequence[Query], chart: Chart, history: History, known: NDArray[np.bool_]
) -> dict[str, NDArray[np.floating]]:
    shape = (len(queries), len(chart))
    groups = _column([query.source.group for query in queries])
    cost_types = _column([query.cost_type for query in queries])
    memories = _column([query.memory for query in queries])
    embeddings = np.stack([query.embedding for query in queries])
    usable = known & np.stack([history.usable(query.source.kind) for query in queries])
    cells = (np.arange(len(queries))[:, None] * len(chart) + history.positions)[usable]

    def tally(weights: NDArray[Any]) -> NDArray[np.floating]:
        counted = np.bincount(cells, weights=weights[usable].astype(float), minlength=shape[0] * shape[1])
        return counted.reshape(shape).astype(np.float64)

    def greatest(values: NDArray[np.floating]) -> NDArray[np.floating]:
        found = np.zeros(shape[0] * shape[1])
        np.maximum.at(found, cells, values[usable])
        return found.reshape(shape)

    cosine = np.clip(embeddings @ history.embeddings.T, 0, 1)
    same_group = (history.groups == groups) & (groups != None)  # noqa: E711 - elementwise
    prefixes = _column([query.prefix for query in queries])
    same_prefix = (history.prefixes == prefixes) & (prefixes != "")
    same_type = (history.cost_types == cost_types) & (cost_types != None)  # noqa: E711 - elementwise
    in_all, in_group, in_prefix = tally(usable), tally(same_group), tally(same_prefix)
    remembered = tally((history.memories == memories) & (memories != ""))
    return {
        "used_before": (in_all > 0).astype(np.float32),
        "log_share_all": _lift(in_all),
        "log_share_group": _lift(in_group),
        "log_share_prefix": _lift(in_prefix),
        "log_share_cost_type": _lift(tally(same_type)),
        "log_share_group_type": _lift(tally(same_group & same_type)),
        "log_share_prefix_type": _lift(tally(same_prefix & same_type)),
        "share_group": _share(in_group),
        "share_prefix": _share(in_prefix),
        "nearest": greatest(cosine),
        "nearest_spelling": greatest(_spelling([query.context for query in queries], history.contexts.T.tocsr())),
        "neighbours": _lift(tally(np.exp(NEIGHBOUR_SHARPNESS * (cosine - 1)))),
        "memory": _share(remembered),
    }


def _column(values: Sequence[str | None]) -> NDArray[np.object_]:
    column = np.empty((len(values), 1), object)
    column[:, 0] = values
    return column


def _spelling(rows: Sequence[sparse.csr_matrix], by_gram: sparse.csr_matrix) -> Floats:
    """Return the cosines of vectors, one row each, with those that stand as the columns of ``by_gram``."""
    stacked = sparse.vstack(rows, format="csr") if len(rows) > 1 else rows[0]
    cosines: Floats = (stacked @ by_gram).toarray()
    return cosines


def _share(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    shares: NDArray[np.floating] = counts / np.maximum(1.0, counts.sum(axis=1, keepdims=True))
    return shares


def _lift(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the log of each account's smoothed share over the uniform share; all zero without counts."""
    size = counts.shape[1]
    total = counts.sum(axis=1, keepdims=True)
    result: NDArray[np.floating] = np.log((counts + PRIOR) / (total + PRIOR * size) * size)
    return result
