"""From a cost code, a chart and the company's own history to one feature row for each candidate account.

``candidate_features`` is the one function for training and serving alike (P4): training hands it the history as it
stood before the decision, serving the history as it stands now.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crewflow_assets.cost_code_mapping.text import (
    COST_TYPES,
    DIMENSIONS,
    Grams,
    code_prefix,
    cost_type,
    grams,
    normalised,
    spoken,
    stacked,
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
OF_HISTORY = slice(COLUMN["used_before"], len(FEATURES))

KEPT_SOURCES = 20_000
"""Sources asked about last, whose reading is kept."""
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
    """A source, prepared for comparison; its embedding has shape (width,)."""

    source: Source
    name: Grams
    context: Grams
    words: frozenset[str]
    cost_type: str | None
    prefix: str
    memory: str
    embedding: Floats


def prepare(sources: Sequence[Source]) -> list[Query]:
    """Prepare sources; many at once are cheaper than one by one."""
    embeddings = encoder().encode([spoken(s.name) for s in sources])
    return [Query(*_read(source), embedding) for source, embedding in zip(sources, embeddings, strict=True)]


@lru_cache(maxsize=KEPT_SOURCES)
def _read(source: Source) -> tuple[Source, Grams, Grams, frozenset[str], str | None, str, str]:
    """Return all of a query but its embedding, in the order of its fields."""
    return (
        source,
        grams(source.name),
        grams(source.context),
        frozenset(words(source.name)),
        cost_type(source.name, source.code),
        code_prefix(source.code),
        normalised(source.name),
    )


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
        self.cost_types = np.array([cost_type(t.name) or cost_type(t.parent or "") for t in self.targets], object)
        self.by_cost_type: dict[str | None, Floats] = {
            asked: self._match_and_clash(asked) for asked in (*COST_TYPES, None)
        }
        kinds = [account_kind(target.type) for target in self.targets]
        of_cost = np.array([[k == kind for k in kinds] for kind in ACCOUNT_KINDS], np.float32)
        signs = np.array([[1], [1], [-1], [1]], np.float32)
        self.by_kind = {"cost_code": of_cost * signs, "project": of_cost * np.array([[0], [0], [1], [1]], np.float32)}
        """``is_direct_cost`` to ``is_balance_sheet`` of each account for a source of a kind, shape (4, len(self))."""
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

    def _match_and_clash(self, asked: str | None) -> Floats:
        """Return the features of the cost type for a source of one, shape (2, len(self))."""
        if asked is None:
            return np.zeros((2, len(self)), np.float32)
        stated = self.cost_types != None  # noqa: E711 - elementwise
        match = self.cost_types == asked
        return np.stack([match, stated & ~match]).astype(np.float32)

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


class Labels:
    """One value for each mapped item, kept as a number, so that all are compared at once; nothing is like nothing."""

    def __init__(self, numbers: NDArray[np.int64], known: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._known = known

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Self:
        """Number the values; None and the empty text are nothing."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(value, len(known)) if value else -1 for value in values]
        return cls(np.array(numbers, np.int64), known)

    def only(self, rows: NDArray[np.int64]) -> "Labels":
        """Return the values of some items."""
        return Labels(self._numbers[rows], self._known)

    def same(self, value: str | None) -> NDArray[np.bool_]:
        """Say which items have a value."""
        same: NDArray[np.bool_] = self._numbers == self._number(value)
        return same

    def same_as(self, values: Sequence[str | None]) -> NDArray[np.bool_]:
        """Say the same for several values, shape (len(values), items)."""
        asked = np.array([[self._number(value)] for value in values], np.int64)
        same: NDArray[np.bool_] = self._numbers == asked
        return same

    def _number(self, value: str | None) -> int:
        return self._known.get(value, -2) if value else -2


@dataclass(frozen=True, slots=True)
class _Grouped:
    """The mapped items that tell something of a kind, those of one account standing together."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    """Where each account's items begin."""
    accounts: NDArray[np.int64]
    memories: Labels
    groups: Labels
    prefixes: Labels
    cost_types: Labels


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A company's mapped items, oldest first, with the position of their account in the chart (-1 if gone)."""

    positions: NDArray[np.int64]
    contexts: sparse.csr_matrix
    embeddings: Floats
    kinds: Labels
    memories: Labels
    groups: Labels
    prefixes: Labels
    cost_types: Labels
    _grouped: dict[str, _Grouped] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, queries: Sequence[Query], target_codes: Sequence[str | None], chart: Chart) -> Self:
        """Prepare a history for a chart."""
        return cls(
            positions=np.array([chart.position.get(code or "", -1) for code in target_codes], np.int64),
            contexts=stacked([query.context for query in queries]),
            embeddings=_stacked([query.embedding for query in queries]),
            kinds=Labels.of([query.source.kind for query in queries]),
            memories=Labels.of([query.memory for query in queries]),
            groups=Labels.of([query.source.group for query in queries]),
            prefixes=Labels.of([query.prefix for query in queries]),
            cost_types=Labels.of([query.cost_type for query in queries]),
        )

    def only(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> "History":
        """Return some of the items, with the accounts that they had at another moment or have in another chart."""
        return History(
            positions=positions,
            contexts=self.contexts[rows],
            embeddings=self.embeddings[rows],
            kinds=self.kinds.only(rows),
            memories=self.memories.only(rows),
            groups=self.groups.only(rows),
            prefixes=self.prefixes.only(rows),
            cost_types=self.cost_types.only(rows),
        )

    def usable(self, kind: str) -> NDArray[np.bool_]:
        """Say which items tell something of an item of a kind: those of the kind whose account is in the chart."""
        told: NDArray[np.bool_] = (self.positions >= 0) & self.kinds.same(kind)
        return told

    def grouped(self, kind: str) -> _Grouped:
        """Return the usable items by account; kept for the next request."""
        found = self._grouped.get(kind)
        if found is None:
            usable = np.flatnonzero(self.usable(kind))
            rows = usable[np.argsort(self.positions[usable], kind="stable")]
            accounts, starts = np.unique(self.positions[rows], return_index=True)
            labels = (self.memories, self.groups, self.prefixes, self.cost_types)
            found = _Grouped(rows, starts, accounts, *(each.only(rows) for each in labels))
            self._grouped[kind] = found
        return found

    def __len__(self) -> int:
        return len(self.positions)


def _stacked(embeddings: Sequence[Floats]) -> Floats:
    return np.stack(embeddings) if embeddings else np.zeros((0, encoder().width), np.float32)


def candidate_features(query: Query, chart: Chart, history: History) -> Floats:
    """Return the features of every candidate, shape (len(chart), len(FEATURES)); ``FEATURES`` names the columns.

    The source itself must not be in the history.
    """
    features: Floats = features_of_many([query], chart, history, np.ones((1, len(history)), bool))[0].T
    return features


def features_of_many(queries: Sequence[Query], chart: Chart, history: History, known: NDArray[np.bool_]) -> Floats:
    """Return the same for several queries of one company, shape (len(queries), len(FEATURES), len(chart)).

    ``known``, shape (len(queries), len(history)), says what of the history each may know: all but itself.
    """
    features = np.empty((len(queries), len(FEATURES), len(chart)), np.float32)
    write_features(queries, chart, history, known, features)
    return features


def write_features(
    queries: Sequence[Query], chart: Chart, history: History, known: NDArray[np.bool_], into: Floats
) -> None:
    """Write what ``features_of_many`` returns ``into`` an array of its shape."""
    embeddings = np.stack([query.embedding for query in queries])
    contexts = _dense([query.context for query in queries])
    _write_text_features(queries, chart, embeddings, contexts, into)
    kinds = [query.source.kind for query in queries]
    into[:, OF_HISTORY] = 0
    if not len(history):
        return
    cosine = np.clip(embeddings @ history.embeddings.T, 0, 1)
    spelling: Floats = (history.contexts @ contexts).T
    for kind in dict.fromkeys(kinds):
        asked, told = np.flatnonzero([one == kind for one in kinds]), history.grouped(kind)
        if len(told.rows):
            cells = np.ix_(asked, told.rows)
            of_kind = [queries[place] for place in asked.tolist()]
            found = _of_history(of_kind, len(chart), told, known[cells], cosine[cells], spelling[cells])
            into[asked, OF_HISTORY] = found


def _write_text_features(
    queries: Sequence[Query], chart: Chart, embeddings: Floats, contexts: Floats, into: Floats
) -> None:
    into[:, COLUMN["name_similarity"]] = (chart.names @ _dense([query.name for query in queries])).T
    into[:, COLUMN["context_similarity"]] = (chart.contexts @ contexts).T
    into[:, COLUMN["encoder_name"]] = embeddings @ chart.embeddings.T
    cost_type_columns = slice(COLUMN["cost_type_match"], COLUMN["cost_type_clash"] + 1)
    kind_columns = slice(COLUMN["is_direct_cost"], COLUMN["is_balance_sheet"] + 1)
    for query, row in zip(queries, into, strict=True):
        shared = chart.shared_words(query.words)
        row[COLUMN["source_covered"]] = shared / (chart.tells(query.words) or 1.0)
        row[COLUMN["target_covered"]] = shared / chart.told
        row[cost_type_columns] = chart.by_cost_type[query.cost_type]
        row[kind_columns] = chart.by_kind["project" if query.source.kind == "project" else "cost_code"]
        row[COLUMN["code_match"]] = chart.having_digits(query.source.code)


def _of_history(
    queries: Sequence[Query], size: int, told: _Grouped, known: NDArray[np.bool_], cosine: Floats, spelling: Floats
) -> Floats:
    """Return the features from ``used_before`` on for a chart of a size, shape (len(queries), features, size).

    ``known``, ``cosine`` and ``spelling`` have the shape (len(queries), len(told.rows)).
    """
    same_group = told.groups.same_as([query.source.group for query in queries]) & known
    same_prefix = told.prefixes.same_as([query.prefix for query in queries]) & known
    same_type = told.cost_types.same_as([query.cost_type for query in queries]) & known
    weights = np.empty((8, *known.shape))
    weights[:6] = known, same_group, same_prefix, same_type, same_group & same_type, same_prefix & same_type
    weights[6] = np.exp(NEIGHBOUR_SHARPNESS * (cosine - 1)) * known
    weights[7] = told.memories.same_as([query.memory for query in queries]) & known
    counts = np.add.reduceat(weights, told.starts, axis=-1)
    totals = counts.sum(axis=-1, keepdims=True)
    shares = counts / np.maximum(1.0, totals)
    nearest = np.maximum.reduceat(np.stack([cosine, spelling]) * known, told.starts, axis=-1)
    lifts, lift_without = _lift(counts[:7], totals[:7], size), _lift(np.zeros(1), totals[:7], size)
    of_used = {
        "used_before": counts[0] > 0,
        **dict(zip(_LIFTS, lifts, strict=True)),
        "share_group": shares[1],
        "share_prefix": shares[2],
        "nearest": nearest[0],
        "nearest_spelling": nearest[1],
        "memory": shares[7],
    }
    found = np.zeros((len(queries), len(FEATURES) - OF_HISTORY.start, size), np.float32)
    for name, values in zip(_LIFTS, lift_without, strict=True):
        found[:, COLUMN[name] - OF_HISTORY.start] = values
    found[:, :, told.accounts] = np.stack([of_used[name] for name in FEATURES[OF_HISTORY]], axis=1)
    return found


_LIFTS = (
    *("log_share_all", "log_share_group", "log_share_prefix", "log_share_cost_type"),
    *("log_share_group_type", "log_share_prefix_type", "neighbours"),
)


def _dense(rows: Sequence[Grams]) -> Floats:
    """Return the vectors as columns, shape (DIMENSIONS, len(rows)): so a sparse matrix is multiplied soonest."""
    found = np.zeros((DIMENSIONS, len(rows)), np.float32)
    for column, row in enumerate(rows):
        found[row.places, column] = row.weights
    return found


def _lift(counts: NDArray[np.floating], total: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Return the log of an account's smoothed share over the uniform share; 0 without any counts."""
    result: NDArray[np.floating] = np.log((counts + PRIOR) / (total + PRIOR * size) * size)
    return result
