"""The baselines of the mapping benchmark, and what every method must offer.

A method ranks the targets for the codes that a split asks, from the labels that the split shows. Its confidence is
fitted by one recipe for all: on firms other than the one that is asked.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit, logsumexp

from benchmarks.mapping_data import Split, Task, splits
from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.text import stacked, vectors
from crewflow_assets.evaluation.calibration import automatic_threshold

CALIBRATED_ON = 4  # other firms at most, or parts of the one other firm
HEAD_STRENGTH = 10.0  # inverse regularisation of the fixed head
HEAD_ITERATIONS = 100
TIE = 1e-6  # the encoder decides where a baseline knows nothing
NEVER = -20.0  # log probability of a target that the fixed head has not seen


class Method(Protocol):
    """Ranks targets; ``name`` stands in the tables."""

    name: str

    def scores(self, split: Split) -> AnyFloats:
        """Return a score of every target for every code asked, shape (asked, targets)."""
        ...

    def practice(self, fold: str, warm: bool) -> tuple[Ints, AnyFloats]:
        """Return codes of firms other than ``fold`` and their scores, as if each of those firms had been asked."""
        ...


class Baseline(ABC):
    """A method that is fitted anew for every split; practised on the largest of the other firms."""

    name = ""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.embeddings = np.stack([query.embedding for query in task.queries])

    @abstractmethod
    def scores(self, split: Split) -> AnyFloats:
        """See Method."""

    def practice(self, fold: str, warm: bool) -> tuple[Ints, AnyFloats]:
        """See Method."""
        inner = list(practice_splits(self.task, fold, warm))
        if not inner:
            return np.zeros(0, np.int64), np.zeros((0, len(self.task.chart)))
        return np.concatenate([s.asked for s in inner]), np.concatenate([self.scores(s) for s in inner])

    def zero_shot(self, rows: Ints) -> AnyFloats:
        """Return the cosines of names and targets."""
        cosines: AnyFloats = self.embeddings[rows] @ self.task.chart.embeddings.T
        return cosines

    def spelling(self, rows: Ints) -> AnyFloats:
        """Return the similarity of character 2- to 5-grams of names and targets."""
        targets = vectors([target.name for target in self.task.chart.targets])
        similar: AnyFloats = (stacked([self.task.queries[row].name for row in rows]) @ targets.T).toarray()
        return similar

    def nearest(self, split: Split) -> AnyFloats:
        """Return for each target the cosine of the nearest labelled name that went to it; 0 without one."""
        found = np.zeros((len(split.asked), len(self.task.chart)))
        if len(split.seen):
            cosines = self.embeddings[split.asked] @ self.embeddings[split.seen].T
            np.maximum.at(found.T, self.task.labels[split.seen], cosines.T)
        return found


class Spelling(Baseline):
    """Character n-grams of name and target."""

    name = "TF-IDF (char 2-5)"

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        return self.spelling(split.asked)


class ZeroShot(Baseline):
    """The encoder as it is."""

    name = "encoder zero-shot"

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        return self.zero_shot(split.asked)


class Nearest(Baseline):
    """The target of the nearest labelled name, own or other firms'."""

    name = "nearest labelled"

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        return self.nearest(split) + TIE * self.zero_shot(split.asked)


class Sum(Baseline):
    """The three similarities added."""

    name = "sum of the three"

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        return self.nearest(split) + self.zero_shot(split.asked) + self.spelling(split.asked)


class FixedHead(Baseline):
    """The PRD's design: a linear softmax head on the frozen encoder, over the targets seen in training."""

    name = "fixed head (PRD)"

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        from sklearn.linear_model import LogisticRegression

        found: AnyFloats = np.full((len(split.asked), len(self.task.chart)), NEVER) + TIE * self.zero_shot(
            split.asked
        )
        seen = self.task.labels[split.seen]
        if len(set(seen)) > 1:
            head = LogisticRegression(C=HEAD_STRENGTH, max_iter=HEAD_ITERATIONS, tol=1e-3)
            head.fit(self.embeddings[split.seen], seen)
            found[:, head.classes_] = head.predict_log_proba(self.embeddings[split.asked])
        return found


class Majority(Baseline):
    """The target that the firm itself used most."""

    name = "own majority"

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        used = np.bincount(self.task.labels[split.own], minlength=len(self.task.chart))
        shares: AnyFloats = used / max(1, used.sum()) + TIE * self.zero_shot(split.asked)
        return shares


def baselines(task: Task, *, warm: bool) -> list[Method]:
    """Return the baselines of a regime."""
    found: list[Method] = [Spelling(task), ZeroShot(task), Nearest(task), Sum(task), FixedHead(task)]
    return [*found, Majority(task)] if warm else found


def practice_splits(task: Task, fold: str, warm: bool) -> Iterator[Split]:
    """Yield splits among the firms other than ``fold``; where there is but one, among parts of it."""
    others = task.firms != fold
    sizes = {firm: int((task.firms == firm).sum()) for firm in sorted(set(task.firms[others]))}
    if len(sizes) > 1:
        for firm in sorted(sizes, key=lambda name: -sizes[name])[:CALIBRATED_ON]:
            yield from splits(task, firm, among=others, repeats=int(warm))
        return
    rows = np.flatnonzero(others)
    part = parts_of(task, rows, CALIBRATED_ON)
    for number in sorted(set(part)):
        mine, rest = rows[part == number], rows[part != number]
        if not warm:
            yield Split("", rest, mine[:0], mine)
            continue
        drawn = np.random.default_rng(number).permutation(mine)
        labelled = max(1, len(mine) // 4)
        if labelled < len(mine):
            yield Split("", rest, np.sort(drawn[:labelled]), np.sort(drawn[labelled:]))


def parts_of(task: Task, rows: Ints, count: int) -> Ints:
    """Cut rows into parts of like size along firms, or along sections where there is but one firm."""
    cut = task.firms if len(set(task.firms[rows])) > 1 else task.sections
    names, sizes = np.unique(cut[rows].astype(str), return_counts=True)
    filled = np.zeros(min(count, len(names)), np.int64)
    part: dict[str, int] = {}
    for place in np.argsort(-sizes, kind="stable"):
        smallest = int(np.argmin(filled))
        part[names[place]] = smallest
        filled[smallest] += sizes[place]
    return np.array([part[str(cut[row])] for row in rows], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """How sure a method is, read off its scores; ``threshold`` None: never automatic."""

    mean: AnyFloats
    spread: AnyFloats
    weights: AnyFloats
    threshold: float | None

    def of(self, scores: AnyFloats) -> AnyFloats:
        """Return the confidence in each first target."""
        inputs = (_inputs(scores) - self.mean) / self.spread
        sure: AnyFloats = expit(self.weights[0] + inputs @ self.weights[1:])
        return sure


def fit_confidence(task: Task, rows: Ints, scores: AnyFloats) -> Confidence:
    """Fit on practised codes: a logistic regression on the first score and its leads; the rules' threshold."""
    from sklearn.linear_model import LogisticRegression

    width = _inputs(np.zeros((1, len(task.chart)))).shape[1]
    if len(rows) == 0:
        return Confidence(np.zeros(width), np.ones(width), np.zeros(width + 1), None)
    inputs = _inputs(scores)
    right = task.right(rows, first(scores, 1))[:, 0]
    mean, spread = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-6)
    if right.all() or not right.any():
        share = (right.sum() + 1) / (len(right) + 2)
        weights = np.r_[np.log(share / (1 - share)), np.zeros(width)]
    else:
        fitted = LogisticRegression(C=1.0, max_iter=1000).fit((inputs - mean) / spread, right)
        weights = np.r_[fitted.intercept_, fitted.coef_[0]]
    unlimited = Confidence(mean, spread, weights, None)
    firms = task.firms[rows]
    clusters = firms if len(set(firms)) >= 10 else task.sections[rows]
    threshold = automatic_threshold(unlimited.of(scores), right.astype(float), clusters)
    return Confidence(mean, spread, weights, threshold.value)


def first(scores: AnyFloats, count: int) -> Ints:
    """Return the places of the best targets, best first, shape (rows, count)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _inputs(scores: AnyFloats) -> AnyFloats:
    """Return for each row the first score, its lead over the second and the fifth, and its log odds as a softmax."""
    ranked = -np.sort(-scores, axis=1)
    fifth = ranked[:, min(4, ranked.shape[1] - 1)]
    log_p = np.minimum(ranked[:, 0] - logsumexp(scores, axis=1), -1e-6)
    return np.column_stack(
        [ranked[:, 0], ranked[:, 0] - ranked[:, 1], ranked[:, 0] - fifth, log_p - np.log(-np.expm1(log_p))]
    )
