"""From a cost code, a chart and the company's own history to one feature row for each candidate account.

``candidate_features`` is the one function for training and serving alike (P4): training hands it the history as it
stood before the decision, serving the history as it stands now.
"""

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
        self.contexts = vectors([target.context for target in self.targets])
        self.embeddings = encoder().encode([spoken(target.name) for target in self.targets])
        self.context_embeddings = encoder().encode([spoken(target.context) for target in self.targets])
        vocabularies = [frozenset(words(target.context)) for target in self.targets]
        self.n_words = np.array([max(1, len(vocabulary)) for vocabulary in vocabularies], np.float32)
        self.cost_types = np.array([cost_type(t.name) or cost_type(t.parent or "") for t in self.targets], object)
        kinds = [account_kind(target.type) for target in self.targets]
        self.kind = {kind: np.array([k == kind for k in kinds], np.float32) for kind in ACCOUNT_KINDS}
        self._having: dict[str, list[int]] = {}
        for place, vocabulary in enumerate(vocabularies):
            for word in vocabulary:
                self._having.setdefault(word, []).append(place)

    def __len__(self) -> int:
        return len(self.targets)

    def shared_words(self, wanted: frozenset[str]) -> Floats:
        """Return how many of the words stand in each account's name or parent, shape (len(self),)."""
        shared = np.zeros(len(self), np.float32)
        for word in wanted:
            shared[self._having.get(word, [])] += 1
        return shared


def account_kind(account_type: str | None) -> str | None:
    """Sort an accounting system's account types into direct_cost, expense, income, balance_sheet; None if unnamed."""
    if not account_type:
        return None
    found = set(words(account_type))
    if {"cost"} & found or {"direct"} & found or "cogs" in found or "cog" in found:
        return "direct_cost"
    if found & {"expense", "overhead"}:
        return "expense"
    if found & {"income", "revenue", "sale"}:
        return "income"
    return "balance_sheet"


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

    def __len__(self) -> int:
        return len(self.positions)


def _stacked(embeddings: Sequence[Floats]) -> Floats:
    return np.stack(embeddings) if embeddings else np.zeros((0, encoder().width), np.float32)


def candidate_features(query: Query, chart: Chart, history: History) -> Floats:
    """Return the features of every candidate, shape (len(chart), len(FEATURES)); ``FEATURES`` names the columns.

    The source itself must not be in the history.
    """
    columns = _text_features(query, chart) | _history_features(query, chart, history)
    return np.column_stack([columns[name] for name in FEATURES]).astype(np.float32)


def _text_features(query: Query, chart: Chart) -> dict[str, NDArray[np.floating]]:
    shared = chart.shared_words(query.words)
    same_type = chart.cost_types == query.cost_type
    known = float(query.cost_type is not None)
    cost = 0.0 if query.source.kind == "project" else 1.0
    digits = "".join(character for character in query.source.code if character.isdigit())
    return {
        "name_similarity": (chart.names @ query.name.T).toarray().ravel(),
        "context_similarity": (chart.contexts @ query.context.T).toarray().ravel(),
        "encoder_name": chart.embeddings @ query.embedding,
        "source_covered": shared / max(1, len(query.words)),
        "target_covered": shared / chart.n_words,
        "cost_type_match": known * same_type,
        "cost_type_clash": known * (~same_type & (chart.cost_types != None)),  # noqa: E711 - elementwise
        "is_direct_cost": chart.kind["direct_cost"] * cost,
        "is_expense": chart.kind["expense"] * cost,
        "is_income": chart.kind["income"] * (1 - 2 * cost),
        "is_balance_sheet": chart.kind["balance_sheet"],
        "code_match": np.array([len(digits) >= 3 and digits in target.code for target in chart.targets], np.float32),
    }


def _history_features(query: Query, chart: Chart, history: History) -> dict[str, NDArray[np.floating]]:
    size = len(chart)
    usable = (history.positions >= 0) & (history.kinds == query.source.kind)
    positions = history.positions[usable]

    def tally(weights: NDArray[Any]) -> NDArray[np.floating]:
        counted = np.bincount(positions, weights=weights[usable].astype(float), minlength=size)
        return counted.astype(np.float64)

    cosine = np.clip(history.embeddings @ query.embedding, 0, 1)
    spelling = (history.contexts @ query.context.T).toarray().ravel()
    same_group = (history.groups == query.source.group) & (query.source.group is not None)
    same_prefix = history.prefixes == query.prefix
    same_type = (history.cost_types == query.cost_type) & (query.cost_type is not None)
    weights = np.exp(NEIGHBOUR_SHARPNESS * (cosine - 1))
    in_all, in_group, in_prefix = tally(np.ones(len(history))), tally(same_group), tally(same_prefix)
    remembered = tally((history.memories == query.memory) & (query.memory != ""))
    nearest, nearest_spelling = np.zeros(size), np.zeros(size)
    np.maximum.at(nearest, positions, cosine[usable])
    np.maximum.at(nearest_spelling, positions, spelling[usable])
    return {
        "used_before": (in_all > 0).astype(np.float32),
        "log_share_all": _lift(in_all),
        "log_share_group": _lift(in_group),
        "log_share_prefix": _lift(in_prefix),
        "log_share_cost_type": _lift(tally(same_type)),
        "log_share_group_type": _lift(tally(same_group & same_type)),
        "log_share_prefix_type": _lift(tally(same_prefix & same_type)),
        "share_group": in_group / max(1.0, in_group.sum()),
        "share_prefix": in_prefix / max(1.0, in_prefix.sum()),
        "nearest": nearest,
        "nearest_spelling": nearest_spelling,
        "neighbours": _lift(tally(weights)),
        "memory": remembered / max(1.0, remembered.sum()),
    }


def _lift(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the log of each account's smoothed share over the uniform share; all zero without counts."""
    size = len(counts)
    result: NDArray[np.floating] = np.log((counts + PRIOR) / (counts.sum() + PRIOR * size) * size)
    return result
