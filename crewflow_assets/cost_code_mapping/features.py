"""From a cost code, a chart and the company's own history to one feature row for each candidate account.

``candidate_features`` is the one function for training and serving alike (P4): training hands it the history as it
stood before the decision, serving the history as it stands now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crewflow_assets.cost_code_mapping.text import code_prefix, cost_type, normalised, vectors, words

Floats = NDArray[np.float32]

FEATURES = (
    "name_similarity",
    "context_similarity",
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
    "share_group",
    "share_prefix",
    "nearest",
    "neighbours",
    "memory",
)
COLUMN = {name: index for index, name in enumerate(FEATURES)}

PRIOR = 0.2  # pseudo-count of an account that has not been used
NEIGHBOUR_SHARPNESS = 8.0  # weight of a neighbour: exp(-8 (1 - similarity)), about 1/50 at similarity .5


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
        """Its name under its parents."""
        return f"{self.parent} {self.name}" if self.parent else self.name


class Chart:
    """A chart of accounts, prepared once for comparison with many sources."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self.position = {target.code: i for i, target in enumerate(self.targets)}
        self.names = vectors([target.name for target in self.targets])
        self.contexts = vectors([target.context for target in self.targets])
        self.words = [frozenset(words(target.context)) for target in self.targets]
        self.cost_types = [cost_type(target.name) or cost_type(target.parent or "") for target in self.targets]
        kinds = [account_kind(target.type) for target in self.targets]
        self.kind = {
            kind: np.array([k == kind for k in kinds], np.float32)
            for kind in ("direct_cost", "expense", "income", "balance_sheet")
        }

    def __len__(self) -> int:
        return len(self.targets)


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

    sources: tuple[Source, ...]
    positions: NDArray[np.int64]
    names: sparse.csr_matrix
    memories: tuple[str, ...]
    groups: tuple[str | None, ...]
    prefixes: tuple[str, ...]
    cost_types: tuple[str | None, ...]

    @classmethod
    def of(cls, sources: Sequence[Source], target_codes: Sequence[str], chart: Chart) -> Self:
        """Prepare a history for a chart."""
        return cls(
            sources=tuple(sources),
            positions=np.array([chart.position.get(code, -1) for code in target_codes], np.int64),
            names=vectors([source.context for source in sources]) if sources else sparse.csr_matrix((0, 1)),
            memories=tuple(normalised(source.name) for source in sources),
            groups=tuple(source.group for source in sources),
            prefixes=tuple(code_prefix(source.code) for source in sources),
            cost_types=tuple(cost_type(source.name, source.code) for source in sources),
        )

    def only(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> "History":
        """Return some of the items, with the accounts that they had at another moment."""
        return History(
            sources=tuple(self.sources[i] for i in rows),
            positions=positions,
            names=self.names[rows],
            memories=tuple(self.memories[i] for i in rows),
            groups=tuple(self.groups[i] for i in rows),
            prefixes=tuple(self.prefixes[i] for i in rows),
            cost_types=tuple(self.cost_types[i] for i in rows),
        )

    def __len__(self) -> int:
        return len(self.sources)


def candidate_features(source: Source, chart: Chart, history: History) -> Floats:
    """Return the features of every candidate, shape (len(chart), len(FEATURES)); ``FEATURES`` names the columns.

    The source itself must not be in the history.
    """
    query = vectors([source.name, source.context])
    own_type = cost_type(source.name, source.code)
    columns = _text_features(source, chart, query, own_type) | _history_features(
        source, chart, history, query[1], own_type
    )
    return np.column_stack([columns[name] for name in FEATURES]).astype(np.float32)


def _text_features(
    source: Source, chart: Chart, query: sparse.csr_matrix, own_type: str | None
) -> dict[str, NDArray[np.floating]]:
    own_words = frozenset(words(source.name))
    shared = np.array([len(own_words & theirs) for theirs in chart.words], np.float32)
    known = own_type is not None
    cost = 0.0 if source.kind == "project" else 1.0
    digits = "".join(character for character in source.code if character.isdigit())
    return {
        "name_similarity": (chart.names @ query[0].T).toarray().ravel(),
        "context_similarity": (chart.contexts @ query[1].T).toarray().ravel(),
        "source_covered": shared / max(1, len(own_words)),
        "target_covered": shared / np.array([max(1, len(theirs)) for theirs in chart.words], np.float32),
        "cost_type_match": np.array([known and theirs == own_type for theirs in chart.cost_types], np.float32),
        "cost_type_clash": np.array(
            [known and theirs not in (None, own_type) for theirs in chart.cost_types], np.float32
        ),
        "is_direct_cost": chart.kind["direct_cost"] * cost,
        "is_expense": chart.kind["expense"] * cost,
        "is_income": chart.kind["income"] * (1 - 2 * cost),
        "is_balance_sheet": chart.kind["balance_sheet"],
        "code_match": np.array([len(digits) >= 3 and digits in target.code for target in chart.targets], np.float32),
    }


def _history_features(
    source: Source, chart: Chart, history: History, query: sparse.csr_matrix, own_type: str | None
) -> dict[str, NDArray[np.floating]]:
    size = len(chart)
    usable = history.positions >= 0
    kind = np.array([other.kind == source.kind for other in history.sources], bool)
    usable &= kind

    def tally(weights: NDArray[np.floating]) -> NDArray[np.floating]:
        counted = np.bincount(history.positions[usable], weights=weights[usable], minlength=size)
        return counted.astype(np.float64)

    similarity = (history.names @ query.T).toarray().ravel() if len(history) else np.zeros(0)
    prefix = code_prefix(source.code)
    memory = normalised(source.name)
    in_all = tally(np.ones(len(history)))
    in_group = tally(np.array([g is not None and g == source.group for g in history.groups], float))
    in_prefix = tally(np.array([p == prefix for p in history.prefixes], float))
    in_type = tally(np.array([own_type is not None and t == own_type for t in history.cost_types], float))
    remembered = tally(np.array([m == memory for m in history.memories], float))
    nearest = np.zeros(size)
    np.maximum.at(nearest, history.positions[usable], similarity[usable])
    return {
        "used_before": (in_all > 0).astype(np.float32),
        "log_share_all": _lift(in_all),
        "log_share_group": _lift(in_group),
        "log_share_prefix": _lift(in_prefix),
        "log_share_cost_type": _lift(in_type),
        "share_group": in_group / max(1.0, in_group.sum()),
        "share_prefix": in_prefix / max(1.0, in_prefix.sum()),
        "nearest": nearest,
        "neighbours": _lift(tally(np.exp(NEIGHBOUR_SHARPNESS * (similarity - 1)))),
        "memory": remembered / max(1.0, remembered.sum()),
    }


def _lift(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the log of each account's smoothed share over the uniform share; all zero without counts."""
    size = len(counts)
    result: NDArray[np.floating] = np.log((counts + PRIOR) / (counts.sum() + PRIOR * size) * size)
    return result
