"""Whether one week differs from the weeks before by more than weeks and companies differ anyway.

The distance of a group of components is the square root of their squared differences, each divided by its scale: for
a distribution the root of its χ² distance. How large distances are when nothing drifts is read off the reference
itself: as many companies as the week has are drawn from it, each with one of its weeks, and compared with the rest;
as many of them as are new in the week are taken out of the rest altogether. What all companies of a week have in
common, such as an outage, such draws do not show. So by how much the reference's own weeks differ from each other
more than draws do is added to each draw, as a vector with the covariance of the weeks' differences and the tails of
Student's t with 6 degrees of freedom: the weeks are few, and what they share is seldom normal. The largest of the
groups' standardised distances is the statistic, which keeps the rate of false alarms over all groups at once (max-T,
Westfall & Young 1993).
"""

from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Bools, Floats
from crewflow_assets.monitoring.blocks import Blocks

DRAWS, DRAWS_OF_A_WEEK = 1999, 60
ALPHA = 0.001
"""With three aspects and 52 weeks, one false alarm in six years of a model, were draws exact; `python -m
benchmarks.drift` counts them where they are not."""
FEWEST_WEEKS, FEWEST_REFERENCE_COMPANIES = 8, 8
FEWEST_COMPANIES, FEWEST_ROWS = 4, 30
FREEDOM = 6
STEADY = 0.02
"""Added to the spread of a distance, so that what never varied may vary a little."""
AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One group of components: its standardised distance, and where it is largest."""

    group: str
    distance: float
    standardised: float
    most: str
    before: float
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a comparison found; without a p-value there was too little to compare, and ``lacking`` says of what."""

    rows: int
    companies: int
    statistic: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    lacking: str | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether the week differs by more than chance."""
        return self.p_value is not None and self.p_value <= ALPHA


def compare(blocks: Blocks, week: int, reference: Bools, *, seed: int = 0, draws: int = DRAWS) -> Compared:
    """Compare a week's blocks with those of the reference.

    Args:
        blocks: All blocks.
        week: The week that is looked at.
        reference: Which blocks it is compared with; none of them of that week.
        seed: Of the draws.
        draws: How many.
    """
    now = blocks.weeks == week
    rows, companies = int(blocks.rows[now].sum()), int(now.sum())
    lacking = _lacking(blocks, reference, rows, companies)
    if lacking is not None:
        return Compared(rows=rows, companies=companies, lacking=lacking)
    random = np.random.default_rng(seed)
    null = _Null(blocks, reference)
    known = np.isin(blocks.companies[now], blocks.companies[reference])
    common = null.week_effects(random)
    chance = null.distances(companies, int((~known).sum()), draws, random, common)
    observed, now_mean, ref_mean = _observed(blocks, now, reference)
    middle, spread = chance.mean(axis=0), chance.std(axis=0) + STEADY
    standardised = (observed - middle) / spread
    largest = ((chance - middle) / spread).max(axis=1)
    statistic = float(standardised.max())
    return Compared(
        rows=rows,
        companies=companies,
        statistic=statistic,
        threshold=float(np.quantile(largest, 1 - ALPHA, method="higher")),
        p_value=float((1 + (largest >= statistic).sum()) / (1 + draws)),
        differences=_differences(blocks, observed, standardised, ref_mean, now_mean),
    )


def _lacking(blocks: Blocks, reference: Bools, rows: int, companies: int) -> str | None:
    weeks, before = len(np.unique(blocks.weeks[reference])), len(np.unique(blocks.companies[reference]))
    if weeks < FEWEST_WEEKS or before < FEWEST_REFERENCE_COMPANIES:
        return (
            f"{weeks} weeks of {before} companies to compare with; it takes {FEWEST_WEEKS} weeks and "
            f"{FEWEST_REFERENCE_COMPANIES} companies"
        )
    if companies < FEWEST_COMPANIES or rows < FEWEST_ROWS:
        return f"{rows} rows of {companies} companies; it takes {FEWEST_ROWS} rows of {FEWEST_COMPANIES} companies"
    if not blocks.groups:
        return "nothing varies"
    return None


def _observed(blocks: Blocks, now: Bools, reference: Bools) -> tuple[Floats, Floats, Floats]:
    """Return the distance of each group, and the means of each component now and before."""
    means = [np.average(blocks.means[part], axis=0, weights=blocks.weights[part]) for part in (now, reference)]
    return _distance(blocks, means[0][None] - means[1][None])[0], means[0], means[1]


def _distance(blocks: Blocks, difference: Floats) -> Floats:
    """Return the distance of each group, shape (n, groups), from differences of components, shape (n, components)."""
    squared = difference**2 / blocks.scale
    distance: Floats = np.sqrt(
        np.column_stack([squared[:, begin:end].sum(axis=1) for _, begin, end in blocks.groups])
    )
    return distance


class _Null:
    """Distances where nothing drifts, drawn from the reference."""

    def __init__(self, blocks: Blocks, reference: Bools) -> None:
        order = np.flatnonzero(reference)
        order = order[np.argsort(blocks.companies[order], kind="stable")]
        self.blocks = blocks
        self.reference = reference
        self.order = order
        self.weight = blocks.weights[order]
        self.weighted = blocks.means[order] * self.weight[:, None]
        _, self.start, self.count = np.unique(blocks.companies[order], return_index=True, return_counts=True)
        self.company_sum = np.add.reduceat(self.weighted, self.start)
        self.company_weight = np.add.reduceat(self.weight, self.start)

    def distances(
        self, companies: int, new: int, draws: int, random: np.random.Generator, common: Floats | None = None
    ) -> Floats:
        """Return distances of each group, shape (draws, groups), of weeks with so many companies, some new.

        ``common`` has a row of component differences for each reference week: what companies of a week share.
        """
        known = len(self.start)
        taken = min(companies, known - 2)
        fresh = min(round(new * taken / companies), known - 2)
        parts = [self._some(taken, fresh, min(AT_ONCE, draws - done), random) for done in range(0, draws, AT_ONCE)]
        difference = np.concatenate(parts)
        if common is not None:
            tails = np.sqrt(FREEDOM / random.chisquare(FREEDOM, (draws, 1)))
            difference += random.standard_normal((draws, len(common))) * tails / np.sqrt(len(common)) @ common
        return _distance(self.blocks, difference)

    def _some(self, taken: int, fresh: int, draws: int, random: np.random.Generator) -> Floats:
        """Return differences of components, shape (draws, components)."""
        chosen = np.argsort(random.random((draws, len(self.start))), axis=1)[:, :taken]
        block = self.start[chosen] + (random.random(chosen.shape) * self.count[chosen]).astype(np.int64)
        weighted, weight = self.weighted[block], self.weight[block]
        now, now_weight = weighted.sum(axis=1), weight.sum(axis=1)
        gone = self.company_sum[chosen[:, :fresh]].sum(axis=1) + weighted[:, fresh:].sum(axis=1)
        gone_weight = self.company_weight[chosen[:, :fresh]].sum(axis=1) + weight[:, fresh:].sum(axis=1)
        rest = (self.company_sum.sum(axis=0) - gone) / (self.company_weight.sum() - gone_weight)[:, None]
        difference: Floats = now / now_weight[:, None] - rest
        return difference

    def week_effects(self, random: np.random.Generator) -> Floats:
        """Return by how much each reference week differs from the others, shape (weeks, components), beyond chance.

        The differences of a group are shrunk by the share of their mean square that draws of companies explain.
        """
        weeks, ratios, differences = self.blocks.weeks, [], []
        for week in np.unique(weeks[self.reference]):
            now, rest = self.reference & (weeks == week), self.reference & (weeks != week)
            companies = self.blocks.companies[now]
            new = int((~np.isin(companies, self.blocks.companies[rest])).sum())
            chance = self.distances(len(companies), new, DRAWS_OF_A_WEEK, random)
            observed, now_mean, rest_mean = _observed(self.blocks, now, rest)
            ratios.append(observed**2 / ((chance**2).mean(axis=0) + STEADY**2))
            differences.append(now_mean - rest_mean)
        beyond = np.sqrt(np.maximum(1 - 1 / np.mean(ratios, axis=0).clip(min=1e-9), 0))
        spans = [end - begin for _, begin, end in self.blocks.groups]
        effects: Floats = np.array(differences) * np.repeat(beyond, spans)
        return effects


def _differences(
    blocks: Blocks, distance: Floats, standardised: Floats, before: Floats, now: Floats
) -> tuple[Difference, ...]:
    found = []
    for place, (name, begin, end) in enumerate(blocks.groups):
        most = begin + int(np.argmax((now - before)[begin:end] ** 2 / blocks.scale[begin:end]))
        found.append(
            Difference(
                group=name,
                distance=float(distance[place]),
                standardised=float(standardised[place]),
                most=blocks.labels[most],
                before=float(before[most]),
                now=float(now[most]),
            )
        )
    return tuple(sorted(found, key=lambda one: -one.standardised))
