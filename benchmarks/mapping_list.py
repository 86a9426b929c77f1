"""A firm imports its list at once, so a code's answer may lean on those of the codes like it, labelled or not.

Each code's probabilities are mixed with the mean of its neighbours' (Zhou et al. 2004, "Learning with local and
global consistency", one step): codes whose numbers differ in the last part alone, and codes of like names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from benchmarks.mapping_data import Task
from crewflow_assets.arrays import AnyFloats, Ints

SHARPNESS = 15.0  # weight of a like name: exp(-15 (1 - cosine))
SHARES = (0.0, 0.15, 0.3, 0.45)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """How much each code of a list leans on each other one, shape (codes, codes); rows sum to 1, or to 0."""

    weights: AnyFloats

    @classmethod
    def of(
        cls,
        task: Task,
        rows: Ints,
        *,
        lists: Ints | None = None,
        histories: Sequence[Ints] | None = None,
    ) -> "Neighbours":
        """Find the neighbours of codes among themselves.

        Args:
            task: The task.
            rows: The codes, of one firm unless ``lists`` says otherwise.
            lists: To which list each code belongs; nothing leans across lists.
            histories: What the answer to each code knew; no code leans on an answer that knew its own label.
        """
        queries = [task.queries[row] for row in rows]
        read = np.stack([query.embedding for query in queries])
        stems = np.array([query.stem for query in queries], object)
        near = np.exp(SHARPNESS * (read @ read.T - 1)) + ((stems[:, None] == stems) & (stems != ""))
        np.fill_diagonal(near, 0)
        if lists is not None:
            near *= lists[:, None] == lists
        for place, history in enumerate(histories or ()):
            near[np.isin(rows, history), place] = 0
        return cls(near / np.maximum(near.sum(axis=1, keepdims=True), 1e-9))

    def leaning(self, scores: AnyFloats, share: float) -> AnyFloats:
        """Return log probabilities of which a share is the neighbours', shape of ``scores`` (codes, targets)."""
        found: AnyFloats = log_softmax(scores, axis=1)
        if share:
            own, leaning = np.exp(found), share * self.weights.sum(axis=1, keepdims=True)
            found = np.log(np.maximum((1 - leaning) * own + share * (self.weights @ own), 1e-12))
        return found

    def best_share(self, scores: AnyFloats, labels: Ints) -> float:
        """Return which of SHARES makes the labels likeliest."""
        rows = np.arange(len(labels))
        return max(SHARES, key=lambda share: float(self.leaning(scores, share)[rows, labels].sum()))
