"""Figures by slice, such as industry or system: the table that model cards print."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crewflow_assets.arrays import AnyFloats, Objects
from crewflow_assets.evaluation.intervals import cluster_mean

if TYPE_CHECKING:
    import pandas as pd

NAME = "slices"
"""The name of the table among an evaluation's tables."""
COLUMNS = ("slice", "figure", "n", "value", "low", "high")
MOST_SLICES = 12


def sliced(
    figure: str,
    values: AnyFloats,
    clusters: Objects,
    by: Mapping[str, NDArray[Any]],
) -> "pd.DataFrame":
    """Return the mean of a figure in each slice, with its 95 % interval by cluster.

    Args:
        figure: Its name.
        values: Of each row.
        clusters: What intervals are clustered by.
        by: Names of ways to slice, and each row's slice; of many slices the largest 12 are kept.

    Returns:
        Columns slice ("system: xero"), figure, n, value, low, high (null with a single cluster).
    """
    import pandas as pd

    rows = []
    for name, labels in by.items():
        texts = labels.astype(str)
        found, counts = np.unique(texts, return_counts=True)
        for label in sorted(found[np.argsort(-counts, kind="stable")[:MOST_SLICES]]):
            mine = texts == label
            interval = cluster_mean(values[mine], clusters[mine])
            low, high = (None if np.isnan(bound) else round(bound, 3) for bound in (interval.low, interval.high))
            rows.append((f"{name}: {label}", figure, int(mine.sum()), round(interval.value, 3), low, high))
    return pd.DataFrame(rows, columns=list(COLUMNS))
