"""The plot of an experiment's looks: each metric's difference with the bounds that hold at all of them."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from crewflow_assets.evaluation.plots import difference_plot
from crewflow_assets.experiments.analysis import Results

UNITS = (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0))
"""Of the time axis; the largest that the last look is at least two of."""


def sequence_plot(
    looks: Sequence[tuple[datetime, Results]], metric: str, *, began: datetime, title: str
) -> bytes | None:
    """Plot treatment minus control against time since the start, a line an arm, as PNG; None without a number yet."""
    latest = max(((at - began).total_seconds() for at, _ in looks), default=0.0)
    name, seconds = next((one for one in UNITS if latest >= 2 * one[1]), UNITS[-1])
    lines = {}
    unit = ""
    for variant in dict.fromkeys(one.variant for _, results in looks for one in results.comparisons):
        points = [
            ((at - began).total_seconds() / seconds, one.difference, one.low, one.high, one.unit)
            for at, results in looks
            for one in results.of(variant)
            if one.metric == metric and one.difference is not None
        ]
        if points:
            moments, *bounds = (np.array(column, dtype=float) for column in list(zip(*points, strict=True))[:4])
            lines[variant] = (moments, bounds[0], bounds[1], bounds[2])
            unit = points[0][4]
    if not lines:
        return None
    relative = " (relative)" if unit == "minutes" else f" ({unit})"
    return difference_plot(lines, title=title, xlabel=f"{name} since the start", ylabel=f"{metric}{relative}")
