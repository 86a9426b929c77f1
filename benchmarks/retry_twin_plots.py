"""The frontiers of the policies as a plot."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.retry_twin_figures import Figures, envelope
from crewflow_assets.evaluation.plots import line_plot


def frontier_image(found: Mapping[str, Sequence[Figures]], hours: int) -> bytes:
    """Plot the share of failures done in 1 or 24 hours against the retries a failure, the first policy in our colour.

    Only the efficient settings of each policy are shown: those that no mix of others outdoes with as few retries.
    Their intervals are those of the printed table; they are wide as draws differ, and hide what is paired by draw.
    """
    lines = {}
    for name, figures in found.items():
        points = [(one.retries.value, (one.within_1h if hours == 1 else one.within_24h).value) for one in figures]
        x, value = np.array(envelope(points) or [(0.0, 0.0)]).T  # one that mends nothing
        lines[name] = (x, value, value, value)
    return line_plot(
        lines,
        title=f"Failed calls done within {hours} h",
        xlabel="retries a failure",
        ylabel="share of all failures",
    )
