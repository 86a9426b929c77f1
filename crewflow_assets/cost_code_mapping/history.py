"""What a company mapped before, arranged so that it is compared with many sources at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy import sparse

from crewflow_assets.arrays import Bools, Ints, Singles
from crewflow_assets.cost_code_mapping.chart import Chart, Query
from crewflow_assets.cost_code_mapping.text import stacked
from crewflow_assets.encoder import encoder


class Labels:
    """One value for each mapped item, kept as a number, so that all are compared at once; nothing is like nothing."""

    def __init__(self, numbers: Ints, known: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._known = known

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Self:
        """Number the values; None and the empty text are nothing."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(value, len(known)) if value else -1 for value in values]
        return cls(np.array(numbers, np.int64), known)

    def only(self, rows: Ints) -> "Labels":
        """Return the values of some items."""
        return Labels(self._numbers[rows], self._known)

    def same(self, value: str | None) -> Bools:
        """Say which items have a value."""
        same: Bools = self._numbers == self._number(value)
        return same

    def same_as(self, values: Sequence[str | None]) -> Bools:
        """Say the same for several values, shape (len(values), items)."""
        asked = np.array([[self._number(value)] for value in values], np.int64)
        same: Bools = self._numbers == asked
        return same

    def _number(self, value: str | None) -> int:
        return self._known.get(value, -2) if value else -2


@dataclass(frozen=True, slots=True)
class Grouped:
    """The mapped items that tell something of a kind, those of one account standing together."""

    rows: Ints
    starts: Ints
    """Where each account's items begin."""
    accounts: Ints
    memories: Labels
    groups: Labels
    prefixes: Labels
    stems: Labels
    cost_types: Labels


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A company's mapped items, oldest first, with the position of their account in the chart (-1 if gone)."""

    positions: Ints
    contexts: sparse.csr_matrix
    embeddings: Singles
    kinds: Labels
    memories: Labels
    groups: Labels
    prefixes: Labels
    stems: Labels
    cost_types: Labels
    _grouped: dict[str, Grouped] = field(default_factory=dict, init=False, repr=False)

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
            stems=Labels.of([query.stem for query in queries]),
            cost_types=Labels.of([query.cost_type for query in queries]),
        )

    def only(self, rows: Ints, positions: Ints) -> "History":
        """Return some of the items, with the accounts that they had at another moment or have in another chart."""
        return History(
            positions=positions,
            contexts=self.contexts[rows],
            embeddings=self.embeddings[rows],
            kinds=self.kinds.only(rows),
            memories=self.memories.only(rows),
            groups=self.groups.only(rows),
            prefixes=self.prefixes.only(rows),
            stems=self.stems.only(rows),
            cost_types=self.cost_types.only(rows),
        )

    def usable(self, kind: str) -> Bools:
        """Say which items tell something of an item of a kind: those of the kind whose account is in the chart."""
        told: Bools = (self.positions >= 0) & self.kinds.same(kind)
        return told

    def grouped(self, kind: str) -> Grouped:
        """Return the usable items by account; kept for the next request."""
        found = self._grouped.get(kind)
        if found is None:
            usable = np.flatnonzero(self.usable(kind))
            rows = usable[np.argsort(self.positions[usable], kind="stable")]
            accounts, starts = np.unique(self.positions[rows], return_index=True)
            labels = (self.memories, self.groups, self.prefixes, self.stems, self.cost_types)
            found = Grouped(rows, starts, accounts, *(each.only(rows) for each in labels))
            self._grouped[kind] = found
        return found

    def __len__(self) -> int:
        return len(self.positions)


def _stacked(embeddings: Sequence[Singles]) -> Singles:
    return np.stack(embeddings) if embeddings else np.zeros((0, encoder().width), np.float32)
