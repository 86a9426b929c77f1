"""The plot of an experiment's looks: each metric's difference with the bounds that hold at all of them."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from crewflow_assets.evaluation.plots import difference_plot
from crewflow_assets.experiments.analysis import Results

DAY_SECONDS = 86_400.0


def sequence_plot(
    looks: Sequence[tuple[datetime, Results]], metric: str, *, began: datetime, title: str
) -> bytes | None:
    """Plot treatment minus control against days since the start, a line an arm, as PNG; None without a number yet."""
    lines = {}
    unit = ""
    for variant in dict.fromkeys(one.variant for _, results in looks for one in results.comparisons):
        points = [
            ((at - began).total_seconds() / DAY_SECONDS, one.difference, one.low, one.high, one.unit)
            for at, results in looks
            for one in results.of(variant)
            if one.metric == metric and one.difference is not None
        ]
        if points:
            days, *bounds = (np.array(column, dtype=float) for column in list(zip(*points, strict=True))[:4])
            lines[variant] = (days, bounds[0], bounds[1], bounds[2])
            unit = points[0][4]
    if not lines:
        return None
    relative = " (relative)" if unit == "minutes" else f" ({unit})"
    return difference_plot(lines, title=title, xlabel="days since the start", ylabel=f"{metric}{relative}")
