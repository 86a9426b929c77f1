"""Rows of predictions as blocks, one for each company and week: what drift is looked for in.

Rows of one company are alike, so a block is the unit: it has the mean of each component over its rows, and a weight
that grows with their number, but less and less (the design effect of Kish 1965).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crewflow_assets.arrays import Bools, Floats, Ints

ALIKE = 0.05
"""Correlation of two rows of a block that is reckoned with; it moves power, not the rate of false alarms."""
MOST_BINS = 10
RAREST = 0.02
"""Values with a smaller share of the reference go together; no share is taken to be smaller."""
MISSING, OTHER = "missing", "other"


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Blocks, by company and week (whole numbers), with the means of components; groups name spans of components.

    ``scale`` divides the square of a component's difference: its share for bins of a distribution, 1 for means.
    """

    companies: Ints
    weeks: Ints
    rows: Ints
    weights: Floats
    means: Floats
    groups: tuple[tuple[str, int, int], ...]
    labels: tuple[str, ...]
    scale: Floats


def described_blocks(
    columns: Mapping[str, NDArray[Any]],
    companies: Sequence[str],
    weeks: Sequence[int],
    in_reference: Bools,
) -> Blocks:
    """Return blocks of the shares of each column's values, numbers by tenths of the reference.

    Args:
        columns: Facts about each row; numbers are floats, NaN where missing; categories are texts.
        companies: The company of each row.
        weeks: The week of each row.
        in_reference: Which rows the bins are made from; at least one.
    """
    parts: list[Floats] = []
    groups: list[tuple[str, int, int]] = []
    labels: list[str] = []
    for name, values in columns.items():
        codes, found = _frequent(*_coded(values, in_reference), in_reference)
        if len(found) < 2:
            continue
        groups.append((name, len(labels), len(labels) + len(found)))
        labels += found
        parts.append(np.eye(len(found))[codes])
    components = np.concatenate(parts, axis=1) if parts else np.zeros((len(in_reference), 0))
    ones = np.ones(len(in_reference))
    share = components[in_reference].mean(axis=0)
    return _blocks(components, ones, companies, weeks, tuple(groups), tuple(labels), np.maximum(share, RAREST))


def columns_of(described: Sequence[Mapping[str, float | str | None]]) -> dict[str, NDArray[Any]]:
    """Return facts about rows, all with the same names, as columns: texts where there is a text, else floats."""
    columns: dict[str, NDArray[Any]] = {}
    for name in described[0]:
        values = [row[name] for row in described]
        if any(isinstance(value, str) for value in values):
            columns[name] = np.array([MISSING if value is None else str(value) for value in values], object)
        else:
            columns[name] = np.array([np.nan if value is None else value for value in values], float)
    return columns


def residual_blocks(
    said: Floats,
    actual: Floats,
    weights: Floats,
    companies: Sequence[str],
    weeks: Sequence[int],
    in_reference: Bools,
) -> Blocks:
    """Return blocks of by how much what happened exceeded what was said: of all rows, and by thirds of what was said.

    Args:
        said: Probabilities, or numbers in units of their spread.
        actual: What happened, in the same unit.
        weights: How many predictions each row stands for, above 0.
        companies: The company of each row.
        weeks: The week of each row.
        in_reference: Which rows the thirds are made from; at least one.
    """
    residual = actual - said
    edges = np.unique(np.quantile(said[in_reference], [1 / 3, 2 / 3]))
    third = np.searchsorted(edges, said, side="right")
    labels = ["all", *(f"said {_span(edges, place)}" for place in range(len(edges) + 1))]
    components = np.column_stack([residual, *(residual * (third == place) for place in range(len(edges) + 1))])
    groups = tuple((label, place, place + 1) for place, label in enumerate(labels))
    return _blocks(components, weights, companies, weeks, groups, tuple(labels), np.ones(len(labels)))


def _span(edges: Floats, place: int) -> str:
    if place == 0:
        return f"below {edges[0]:.3g}"
    return f"from {edges[place - 1]:.3g}" + ("" if place == len(edges) else f" to {edges[place]:.3g}")


def _coded(values: NDArray[Any], in_reference: Bools) -> tuple[Ints, list[str]]:
    """Return the bin of each value, and the bins' names; numbers that are missing have a bin of their own."""
    if values.dtype.kind != "f":
        names, codes = np.unique(values.astype(str), return_inverse=True)
        return codes, names.tolist()
    missing = np.isnan(values)
    known = values[in_reference & ~missing]
    edges = np.unique(np.quantile(known, np.arange(1, MOST_BINS) / MOST_BINS)) if len(known) else np.zeros(0)
    spans = [_span(edges, place) for place in range(len(edges) + 1)] if len(edges) else ["known"]
    codes = np.where(missing, len(spans), np.searchsorted(edges, values, side="right"))
    return codes, [*spans, MISSING]


def _frequent(codes: Ints, names: list[str], in_reference: Bools) -> tuple[Ints, list[str]]:
    """Return the codes renumbered by how frequent they are in the reference; the rare share the last place."""
    counts = np.bincount(codes[in_reference], minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:MOST_BINS]
    kept = order[counts[order] >= max(RAREST * counts.sum(), 1)]
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    found, labels = place[codes], [names[code] for code in kept]
    return found, [*labels, OTHER] if (found == len(kept)).any() else labels


def _blocks(
    components: Floats,
    row_weights: Floats,
    companies: Sequence[str],
    weeks: Sequence[int],
    groups: tuple[tuple[str, int, int], ...],
    labels: tuple[str, ...],
    scale: Floats,
) -> Blocks:
    _, company = np.unique(np.asarray(companies, str), return_inverse=True)
    keys, block = np.unique(np.column_stack([company, np.asarray(weeks, np.int64)]), axis=0, return_inverse=True)
    block = block.reshape(-1)
    count = len(keys)
    total = np.bincount(block, weights=row_weights, minlength=count)
    squares = np.bincount(block, weights=row_weights**2, minlength=count)
    means = np.zeros((count, components.shape[1]))
    np.add.at(means, block, components * row_weights[:, None])
    effective = total**2 / squares
    return Blocks(
        companies=keys[:, 0],
        weeks=keys[:, 1],
        rows=np.bincount(block, minlength=count),
        weights=effective / (1 + (effective - 1) * ALIKE),
        means=means / total[:, None],
        groups=groups,
        labels=labels,
        scale=scale,
    )
