"""A classifier over the targets that learns from labelled names and from the targets' own titles at once.

Kernel ridge regression on one-hot labels, which is the mean of a Gaussian process (Rasmussen & Williams 2006, 2.2).
A title is an example of its target, so a target that nobody used has an answer too; what the firm's own labels add to
the other firms' is the update of the posterior (2.24), so that each code can know another history at little cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.text import Grams, Weighted, stacked

SHARPNESS = 2.0  # of the cosine; with the next three, one of seven settings tried on two of the lists
SPELLING = 0.5  # share of the kernel that the letters decide
LABEL_NOISE = 0.3  # variance of a label, and of a title
TITLE_NOISE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """How alike codes and titles are, codes first; ``values`` has shape (codes + targets, codes + targets)."""

    values: AnyFloats
    labels: Ints

    @classmethod
    def of(cls, embeddings: Sequence[AnyFloats], spelling: Sequence[Sequence[Grams]], labels: Ints) -> Self:
        """Compare texts, those of the codes and those of the targets apart: by the encoder, times by spelling."""
        read = np.concatenate(embeddings)
        spelt = Weighted.of(stacked([text for texts in spelling for text in texts])).rows
        letters = (1 - SPELLING) + SPELLING * (spelt @ spelt.T).toarray()
        return cls(np.exp(SHARPNESS * (read @ read.T - 1)) * letters, labels)


class KernelHead:
    """What some labels, and the titles, teach about any other code."""

    def __init__(self, kernel: Kernel, rows: Ints) -> None:
        count, values = len(kernel.labels), kernel.values
        titles = np.arange(count, len(values))
        self.kernel, self.targets = kernel, len(titles)
        self._examples = np.concatenate([rows, titles])
        noise = np.concatenate([np.full(len(rows), LABEL_NOISE), np.full(len(titles), TITLE_NOISE)])
        self._factor = cho_factor(values[np.ix_(self._examples, self._examples)] + np.diag(noise))
        said = np.concatenate([kernel.labels[rows], np.arange(len(titles))])
        self._weights = cho_solve(self._factor, np.eye(len(titles))[said])
        self._known = frozenset(rows.tolist())

    def scores(self, asked: Ints, histories: Sequence[Ints]) -> AnyFloats:
        """Return the mean of each target, shape (asked, targets); labels of a history count beside those learned."""
        told = [np.array([row for row in history if row not in self._known], np.int64) for history in histories]
        rows = np.unique(np.concatenate([asked, *told]))
        near = self.kernel.values[np.ix_(rows, self._examples)]
        mean = near @ self._weights
        at = np.searchsorted(rows, asked)
        found: AnyFloats = mean[at]
        if not any(len(history) for history in told):
            return found
        spread = self.kernel.values[np.ix_(rows, rows)] - near @ cho_solve(self._factor, near.T)
        surprise = np.eye(self.targets)[self.kernel.labels[rows]] - mean
        for place, (row, history) in enumerate(zip(at, told, strict=True)):
            if len(history):
                own = np.searchsorted(rows, history)
                noisy = spread[np.ix_(own, own)] + LABEL_NOISE * np.eye(len(own))
                found[place] += np.linalg.solve(noisy, spread[own, row]) @ surprise[own]
        return found
