"""Cost codes and charts, prepared once for comparison: words, spelling, embeddings, cost type, kind of account."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crewflow_assets.arrays import Singles
from crewflow_assets.cost_code_mapping.text import (
    COST_TYPES,
    Grams,
    Weighted,
    code_prefix,
    code_stem,
    cost_type,
    grams,
    normalised,
    spoken,
    unordered,
    vectors,
    words,
)
from crewflow_assets.encoder import by_number, encoder

ACCOUNT_KINDS = ("direct_cost", "expense", "income", "balance_sheet")
KEPT_SOURCES = 20_000
"""Sources asked about last, whose reading is kept."""


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
    stem: str
    memory: str
    embedding: Singles


def prepare(sources: Sequence[Source]) -> list[Query]:
    """Prepare sources; many at once are cheaper than one by one."""
    embeddings = encoder().encode([unordered(s.name) for s in sources])
    return [Query(*_read(source), embedding) for source, embedding in zip(sources, embeddings, strict=True)]


@lru_cache(maxsize=KEPT_SOURCES)
def _read(source: Source) -> tuple[Source, Grams, Grams, frozenset[str], str | None, str, str, str]:
    """Return all of a query but its embedding, in the order of its fields."""
    return (
        source,
        grams(source.name),
        grams(source.context),
        frozenset(sorted(words(source.name))),
        cost_type(source.name, source.code),
        code_prefix(source.code),
        code_stem(source.code),
        normalised(source.name),
    )


class Chart:
    """A chart of accounts, prepared once for comparison with many sources."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self.position = {target.code: i for i, target in enumerate(self.targets)}
        self.names = Weighted.of(vectors([target.name for target in self.targets]))
        self.contexts = Weighted.of(vectors([target.context for target in self.targets]))
        self.embeddings = by_number(encoder().encode([spoken(target.name) for target in self.targets]))
        self.context_embeddings = by_number(encoder().encode([spoken(target.context) for target in self.targets]))
        vocabularies = [frozenset(words(target.context)) for target in self.targets]
        self.cost_types = np.array([cost_type(t.name) or cost_type(t.parent or "") for t in self.targets], object)
        self.by_cost_type: dict[str | None, Singles] = {
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

    def _match_and_clash(self, asked: str | None) -> Singles:
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

    def shared_words(self, wanted: frozenset[str]) -> Singles:
        """Return how much the words that stand in each account's name or parent tell apart, shape (len(self),)."""
        shared = np.zeros(len(self), np.float32)
        for word in wanted:
            if word in self._having:
                shared[self._having[word]] += self._tells(word)
        return shared

    def having_digits(self, code: str) -> Singles:
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
