"""A conditional logit over the candidates of each query.

The probability that a source belongs to account j of its chart is exp(x_j·w) / Σ_k exp(x_k·w) (McFadden 1974,
"Conditional logit analysis of qualitative choice behavior"), so any chart can be ranked, seen before or not.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from crewflow_assets.arrays import AnyFloats, Bools, Ints

PENALTY = 1e-3  # of the squared standardised weights
ITERATIONS = 150


@dataclass(frozen=True, slots=True)
class Queries:
    """Where the queries of a feature table begin; rows of query q are ``starts[q]`` to ``starts[q + 1]``."""

    starts: Ints
    labels: Ints
    """Row number, within the query, of the right candidate."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> Self:
        """Read a feature table; rows of one query stand together, exactly one of them labelled 1.

        Raises:
            ValueError: a query has not exactly one label.
        """
        query = table["query"].to_numpy()
        starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]]) if len(query) else np.zeros(0, np.int64)
        label_rows = np.flatnonzero(table["label"].to_numpy() == 1)
        if not np.array_equal(np.searchsorted(starts, label_rows, side="right"), np.arange(1, len(starts) + 1)):
            raise ValueError(f"{len(starts)} queries have {len(label_rows)} labels; each needs exactly one")
        return cls(np.r_[starts, len(query)].astype(np.int64), (label_rows - starts).astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Ints) -> tuple[Ints, "Queries"]:
        """Return the rows of some queries, in their order, and these queries over those rows alone."""
        lengths = np.diff(self.starts)[chosen]
        rows = np.concatenate([np.arange(self.starts[q], self.starts[q + 1]) for q in chosen])
        return rows, Queries(np.concatenate([[0], np.cumsum(lengths)]), self.labels[chosen])

    @property
    def first_rows(self) -> Ints:
        """The first row of each query."""
        return self.starts[:-1]

    @property
    def right_rows(self) -> Ints:
        """The row of each query's right candidate."""
        return self.first_rows + self.labels


def fit_conditional_logit(features: AnyFloats, queries: Queries, mask: Bools) -> AnyFloats:
    """Return the weights that maximise the penalised likelihood (L-BFGS); 0 outside the mask or without spread."""
    width = features.shape[1]
    spread = features.std(axis=0, dtype=np.float64)
    chosen_columns = np.flatnonzero(mask & (spread > 1e-6))  # a feature that is the same everywhere tells nothing
    scale = 1 / np.maximum(spread, 1e-6)
    x = np.ascontiguousarray(features[:, chosen_columns] * scale[chosen_columns], np.float32)
    starts, lengths = queries.first_rows, np.diff(queries.starts)
    chosen = x[queries.right_rows].sum(axis=0, dtype=np.float64)

    def loss(w: AnyFloats) -> tuple[float, AnyFloats]:
        scores = (x @ w.astype(np.float32)).astype(np.float64)
        top = np.maximum.reduceat(scores, starts)
        exponent = np.exp(scores - np.repeat(top, lengths))
        total = np.add.reduceat(exponent, starts)
        probability = (exponent / np.repeat(total, lengths)).astype(np.float32)
        value = float(np.sum(np.log(total) + top) - chosen @ w) / len(queries) + PENALTY * float(w @ w)
        return value, ((probability @ x).astype(np.float64) - chosen) / len(queries) + 2 * PENALTY * w

    result = minimize(
        loss,
        np.zeros(len(chosen_columns)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "ftol": 1e-7},
    )
    weights = np.zeros(width)
    weights[chosen_columns] = result.x * scale[chosen_columns]
    return weights
