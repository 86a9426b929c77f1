"""The backtest's report as people read it: the PRD's table 4, every cell, and what still fails and why."""

import numpy as np

from crewflow_assets.backtest.conflicts import BEST
from crewflow_assets.backtest.conflicts import LEARNED as LEARNED_CONFLICTS
from crewflow_assets.backtest.conflicts import MANUAL as MANUAL_CONFLICTS
from crewflow_assets.backtest.fates import CAUSES, ratio
from crewflow_assets.backtest.found import AFTER, BEFORE, CEILING, Backtest, fewer_failures, success_rate, text
from crewflow_assets.backtest.prd_table import HEADINGS, prd_table
from crewflow_assets.backtest.syncs import (
    ACTIONS,
    BEST_PREVENTION,
    FIXED,
    LEARNED,
    NO_PREVENTION,
    PREVENTIONS,
    RETRIES,
    Cell,
)
from crewflow_assets.twin.sync.attempts import Cause


def cells_table(found: Backtest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and a row for each of the cells, conflicts included, and the ceiling."""
    before = found.syncs[BEFORE]
    headings = (
        "prevention",
        "retries",
        "conflicts",
        "sync success",
        "failures fewer",
        "distance to the ceiling",
        "done in 24 h",
        "minutes until there",
        "API calls a due sync",
        "failed calls left, a week",
        "conflicts left of 100",
    )
    ceiling = fewer_failures(found.syncs[CEILING], before).value
    weeks = np.full(found.sync_size.draws, found.sync_size.integrations * found.sync_size.days / 7)
    rows: list[tuple[str, ...]] = []
    combined = [
        (*cell, way)
        for cell in ((p, r) for p in PREVENTIONS for r in RETRIES)
        for way in (MANUAL_CONFLICTS, LEARNED_CONFLICTS)
    ]
    for prevention, retries, way in [*combined, (*CEILING, BEST)]:
        sums, conflicts = found.syncs[prevention, retries], found.conflicts[way]
        fewer = fewer_failures(sums, before)
        rows.append(
            (
                prevention,
                retries,
                way,
                text(success_rate(sums), ".2%"),
                text(fewer, ".1%"),
                f"{100 * (ceiling - fewer.value):.1f} points",
                text(ratio(sums.mended_in_a_day, sums.failures), ".1%"),
                text(ratio(sums.waited, sums.due), ".1f"),
                text(ratio(sums.calls, sums.due), ".2f"),
                text(ratio(sums.left, weeks), ".2f"),
                text(ratio(100 * (conflicts.conflicts - conflicts.automatic), conflicts.conflicts), ".1f"),
            )
        )
    return headings, rows


def causes_table(found: Backtest) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows: failures by cause before, and the share of them fewer under some cells."""
    before = found.syncs[BEFORE]
    shown: dict[str, Cell] = {
        "learned retries alone": (NO_PREVENTION, LEARNED),
        "actions alone": (ACTIONS, FIXED),
        "both": AFTER,
        "ceiling": CEILING,
    }
    headings = ("cause when nobody acts", "failed before", "share of all", *(f"fewer: {name}" for name in shown))
    rows = []
    for cause in (*CAUSES, Cause.NONE):
        mine = before.failed_by[cause]
        name = "none: made by a pause or by waiting" if cause == Cause.NONE else cause.name.lower()
        cells = [
            text(ratio(mine - found.syncs[cell].failed_by[cause], mine), ".0%")
            if mine.sum()
            else f"{found.syncs[cell].failed_by[cause].sum():+,.0f} syncs"
            for cell in shown.values()
        ]
        rows.append((name, f"{mine.sum():,.0f}", f"{mine.sum() / before.failed.sum():.0%}", *cells))
    return headings, rows


def markdown(found: Backtest) -> str:
    """Return the whole report as Markdown."""
    size, conflicts = found.sync_size, found.conflict_size
    due = found.syncs[BEFORE].due.sum()
    decided = found.conflicts[MANUAL_CONFLICTS].conflicts.sum()
    versions = ", ".join(f"{name}: {version}" for name, version in found.versions.items())
    parts = [
        f"Syncs: {size.draws} draws of {size.integrations} integrations, {size.days} days after {size.warm_up} of "
        f"warm-up; {due:,.0f} syncs due. Conflicts: {conflicts.draws} draws of {conflicts.companies} companies, the "
        f"last {conflicts.counted} of {conflicts.days} days; {decided:,.0f} conflicts. Intervals (95 %) are over "
        "draws.\n\n"
        f"Models: {versions}.",
        _table(HEADINGS, [row.cells() for row in prd_table(found)]),
        "Every cell:",
        _table(*cells_table(found)),
        "What failed, by cause, and how much fewer of it failed:",
        _table(*causes_table(found)),
    ]
    return "\n\n".join(parts)


def plot(found: Backtest) -> bytes:
    """Plot by how much fewer syncs fail in each cell, as a PNG."""
    from crewflow_assets.evaluation.plots import bar_plot

    before = found.syncs[BEFORE]
    bars = {}
    for (prevention, retries), sums in found.syncs.items():
        fewer = fewer_failures(sums, before)
        name = "ceiling" if prevention == BEST_PREVENTION else f"{retries}, {prevention}"
        bars[name] = (fewer.value, fewer.low, fewer.high)
    return bar_plot(bars, title="Failed syncs fewer than before", xlabel="share of those that failed before")


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
