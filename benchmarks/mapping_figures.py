"""What the mapping benchmark reports of a method on a held-out firm."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.mapping_data import Split, Task
from benchmarks.mapping_methods import Confidence, first
from crewflow_assets.arrays import AnyFloats, Bools, Ints
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_mean

RANKS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """How a method did on the codes asked of one firm; a code stands once for each repeat that asked it."""

    rows: Ints
    said: Ints
    first_right: AnyFloats
    in_five: AnyFloats
    confidence: AnyFloats
    automatic: Bools

    def by_row(self, values: AnyFloats) -> tuple[Ints, AnyFloats]:
        """Return the rows that were asked at all, and the mean of their values over the repeats."""
        rows, place = np.unique(self.rows, return_inverse=True)
        return rows, np.bincount(place, weights=values) / np.bincount(place)


def judge(task: Task, confidence: Confidence, answers: Iterable[tuple[Split, AnyFloats]]) -> Asked:
    """Compare a method's scores with the accepted targets."""
    rows, said, ranks, sure = [], [], [], []
    for split, scores in answers:
        order = first(scores, RANKS)
        rows.append(split.asked)
        said.append(order[:, 0])
        ranks.append(task.right(split.asked, order))
        sure.append(confidence.of(scores))
    right, confidences = np.concatenate(ranks), np.concatenate(sure)
    limit = np.inf if confidence.threshold is None else confidence.threshold
    return Asked(
        rows=np.concatenate(rows),
        said=np.concatenate(said),
        first_right=right[:, 0].astype(float),
        in_five=right.any(axis=1).astype(float),
        confidence=confidences,
        automatic=confidences >= limit,
    )


@dataclass(frozen=True, slots=True)
class Record:
    """The figures of one method on one firm; None where nothing could be counted."""

    dataset: str
    fold: str
    method: str
    n: int
    top1: float
    top5: float
    unseen_top1: float | None
    coverage_at_95: float
    automatic_right: float | None
    ece: float

    @property
    def is_ours(self) -> bool:
        """Whether it is a method of the product."""
        return self.method.startswith("ours")

    def as_json(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        names = ("dataset", "fold", "method", "n", "top1", "top5", "unseen_top1", "coverage_at_95", "ece")
        return {name: getattr(self, name) for name in names}


def record(task: Task, dataset: str, fold: str, method: str, asked: Asked) -> Record:
    """Count what the issue asks for; a code that several repeats asked counts once, with its mean."""
    rows, top1 = asked.by_row(asked.first_right)
    _, top5 = asked.by_row(asked.in_five)
    unseen = task.unseen[rows]
    return Record(
        dataset=dataset,
        fold=fold,
        method=method,
        n=len(rows),
        top1=_rounded(top1.mean()),
        top5=_rounded(top5.mean()),
        unseen_top1=_rounded(top1[unseen].mean()) if unseen.any() else None,
        coverage_at_95=_rounded(asked.automatic.mean()),
        automatic_right=_rounded(asked.first_right[asked.automatic].mean()) if asked.automatic.any() else None,
        ece=_rounded(expected_calibration_error(asked.confidence, asked.first_right)),
    )


def gain(task: Task, ours: Asked, other: Asked) -> Interval:
    """Return the difference in top-1, ours minus the other's, bootstrapped by section within the firm."""
    rows, mine = ours.by_row(ours.first_right)
    _, theirs = other.by_row(other.first_right)
    return cluster_mean(mine - theirs, task.sections[rows])


@dataclass(frozen=True, slots=True, eq=False)
class FoldResult:
    """Every method on one held-out firm, and how far ours is ahead of the best baseline."""

    task: Task
    records: tuple[Record, ...]
    asked: dict[str, Asked]
    best: str
    gain: Interval

    @property
    def dataset(self) -> str:
        """The data set, with the regime."""
        return self.records[0].dataset

    @property
    def fold(self) -> str:
        """The firm held out."""
        return self.records[0].fold

    @property
    def ours(self) -> str:
        """The method of ours that is compared: the first."""
        return next(record.method for record in self.records if record.is_ours)

    def top1(self, method: str) -> float:
        """Return a method's share of first targets right."""
        return next(record.top1 for record in self.records if record.method == method)


def _rounded(value: float) -> float:
    return round(float(value), 4)
