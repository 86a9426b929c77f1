"""The product's ranker in the mapping benchmark: trained on other firms' labels, or on simulated companies alone.

With other firms' labels, each code of another firm is asked as production would ask it: once without history and once
with a random share of its own firm's labels; what is learned from others is fitted without the firm that is asked.
Whether the weights of simulated small sets are a prior, and how much a code leans on the codes like it, is chosen by
the likelihood of the other firms' labels.
The targets are public schemes, no customer's data, so one firm is enough for the pool (the product asks for five).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.mapping_data import Split, Task
from benchmarks.mapping_kernel import Kernel, KernelHead
from benchmarks.mapping_list import Neighbours
from benchmarks.mapping_methods import parts_of
from benchmarks.mapping_ranker import (
    REFIT_ITERATIONS,
    Block,
    Practised,
    Recipe,
    fit_logit,
    fit_practised,
)
from benchmarks.mapping_words import word_features
from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.adaptation import Adaptation, Pairs, fit_adaptation
from crewflow_assets.cost_code_mapping.features import COLUMN, FEATURES, candidate_features
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.cost_code_mapping.pool import Pool, pool_features
from crewflow_assets.cost_code_mapping.text import grams, normalised, stacked, unordered
from crewflow_assets.encoder import encoder

SHARES = (0.05, 0.1, 0.25, 0.5)
INNER_PARTS = 4
PAIRS_A_STEP = 32  # with few firms a step is a few of one firm's pairs, else the adaptation takes too few steps
SPELLING_SHARPNESS = 12.0
SPELLING_WEIGHT = 0.3
OWN_VOTES = 2.0
OWN_ROWS = 5.0  # weight of the firm's own labelled codes as training rows
LEARNED = 9
FADING = (COLUMN["encoder_name"], len(FEATURES), len(FEATURES) + 1)
WIDEST_CHART = 500  # targets; chosen after the prior had hurt on 1,439 (simulated charts hold 64 to 134 accounts)
KEPT_SPLITS = 3
NOTHING: Ints = np.zeros(0, np.int64)


class Workbench:
    """A task's feature rows, computed once: they depend on the asked code's own firm alone."""

    def __init__(
        self, task: Task, world: MappingPredictor | None = None, prior: AnyFloats | None = None, *, seed: int = 0
    ) -> None:
        """Compute them; ``world`` and ``prior`` (weights of the ranker, of headings last) are for short charts."""
        self.task = task
        self.world, self.prior = (world, prior) if len(task.chart) <= WIDEST_CHART else (None, None)
        n = len(task.labels)
        random = np.random.default_rng(seed)
        self.histories = []
        for row in range(n):
            mine = np.flatnonzero((task.firms == task.firms[row]) & (np.arange(n) != row))
            self.histories.append(mine[random.random(len(mine)) < random.choice(SHARES)])
        self.bare = self.own_features(np.arange(n), [NOTHING] * n)
        self.with_history = self.own_features(np.arange(n), self.histories)
        self.embeddings = np.stack([query.embedding for query in task.queries])
        self.context_embeddings = encoder().encode([unordered(query.source.context) for query in task.queries])
        self.has_context = any(query.source.context != query.source.name for query in task.queries)
        spelt = stacked([query.name for query in task.queries])
        alike = self.embeddings @ self.embeddings.T + SPELLING_WEIGHT * (spelt @ spelt.T).toarray()
        self.close = np.exp(SPELLING_SHARPNESS * (alike - 1)).astype(np.float32)
        self.words = word_features(task)
        chart = task.chart
        names = [[query.name for query in task.queries], [grams(target.name) for target in chart.targets]]
        contexts = [[query.context for query in task.queries], [grams(target.context) for target in chart.targets]]
        self.kernels = [Kernel.of([self.embeddings, chart.embeddings], names, task.labels)]
        if self.has_context:
            read = [self.context_embeddings, chart.context_embeddings]
            self.kernels.append(Kernel.of(read, contexts, task.labels))
        self.simulated = np.zeros((n, len(task.chart)), np.float32)
        if self.world is not None:
            self.simulated[:] = [self.world.learned.of_query(q, task.chart)[:, 0] for q in task.queries]
        self._asked: dict[tuple[bytes, bytes], AnyFloats] = {}

    def own_features(self, rows: Ints, histories: Sequence[Ints]) -> AnyFloats:
        """Return the product's features of each row given its history, shape (rows, targets, features)."""
        task = self.task
        found = []
        for row, rest in zip(rows, histories, strict=True):
            codes = [task.chart.targets[task.labels[i]].code for i in rest]
            history = History.of([task.queries[i] for i in rest], codes, task.chart)
            found.append(candidate_features(task.queries[row], task.chart, history))
        return np.stack(found)

    def asked(self, split: Split) -> AnyFloats:
        """Return the product's features of the codes that a split asks, kept while the same firm is asked."""
        if not len(split.own):
            return self.bare[split.asked]
        key = (split.asked.tobytes(), split.own.tobytes())
        if key not in self._asked:
            if len(self._asked) >= KEPT_SPLITS:
                self._asked.clear()
            self._asked[key] = self.own_features(split.asked, [split.own] * len(split.asked))
        return self._asked[key]

    def joined(self, rows: Ints, own: AnyFloats, learned: AnyFloats, histories: Sequence[Ints]) -> AnyFloats:
        """Return all features of rows; what is known without history stands twice, to fade as history grows."""
        both = np.concatenate([own, learned], axis=2).astype(np.float32)
        known = np.log1p(np.array([len(history) for history in histories], np.float32)) / 5
        fading = both[:, :, FADING] * known[:, None, None]
        return np.concatenate([both, fading, self.words[rows]], axis=2)


class Taught:
    """What some rows' labels teach about any other row: adapted spaces and a pool."""

    def __init__(self, bench: Workbench, rows: Ints, *, seed: int = 0) -> None:
        task = bench.task
        self.bench, self.rows = bench, rows
        names = [query.source.name for query in task.queries]
        targets = [task.chart.targets[label].name for label in task.labels]
        self.pool = Pool.of(((str(task.firms[i]), names[i], targets[i]) for i in rows), least=1)
        places = [self.pool.targets.get(normalised(target.name), -1) for target in task.chart.targets]
        self.places = np.array(places, np.int64)
        self.heads = [KernelHead(kernel, rows) for kernel in bench.kernels]
        self.by_name = self._adapted(names, seed)
        self.by_context = None
        if bench.has_context:
            self.by_context = self._adapted([query.source.context for query in task.queries], seed)

    def _adapted(self, sources: Sequence[str], seed: int) -> Adaptation:
        task, random, pairs = self.bench.task, np.random.default_rng(seed), []
        texts = tuple(target.context for target in task.chart.targets)
        for firm in sorted(set(task.firms[self.rows])):
            mine = random.permutation(self.rows[task.firms[self.rows] == firm])
            for start in range(0, len(mine), PAIRS_A_STEP):
                step = mine[start : start + PAIRS_A_STEP]
                pairs.append(Pairs(tuple(sources[i] for i in step), texts, task.labels[step]))
        return fit_adaptation(pairs, seed=seed)

    def features(self, asked: Ints, histories: Sequence[Ints]) -> AnyFloats:
        """Return the learned features, shape (asked, targets, LEARNED).

        They are the adapted cosines by name and in context, the product's pool, a pool that reads the spelling
        too and counts the firm's own history double, the cosine adapted on simulated companies, and the kernel heads
        by name and in context.
        """
        bench, chart, labels = self.bench, self.bench.task.chart, self.bench.task.labels
        found = np.zeros((len(asked), len(chart), LEARNED), np.float32)
        pairs = ((self.by_name, bench.embeddings), (self.by_context, bench.context_embeddings))
        for place, (adaptation, embeddings) in enumerate(pairs):
            if adaptation is not None:
                cosines = adaptation.sources(embeddings[asked]) @ adaptation.targets(chart.context_embeddings).T
                found[:, :, place] = adaptation.scale * cosines
        votes = np.zeros((len(asked), len(chart)), np.float32)
        if len(self.pool):
            known = self.places >= 0
            votes[:, known] = self.pool.votes(bench.embeddings[asked])[:, self.places[known]]
        spelt = np.zeros_like(votes)
        np.add.at(spelt.T, labels[self.rows], bench.close[np.ix_(asked, self.rows)].T)
        for i, (row, history) in enumerate(zip(asked, histories, strict=True)):
            np.add.at(spelt[i], labels[history], OWN_VOTES * bench.close[row, history])
            found[i, :, 2:4], found[i, :, 4:6] = pool_features(votes[i]), pool_features(spelt[i])
        found[:, :, 6] = bench.simulated[asked]
        for place, head in enumerate(self.heads, start=7):
            found[:, :, place] = head.scores(asked, histories)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A ranker for one held-out firm, from the other firms' codes."""

    taught: Taught
    fit: Practised
    others: Ints
    blocks: tuple[Block, Block]
    shares: tuple[float, float]
    """How much an answer leans on the neighbours', without history and with it."""
    practised: tuple[AnyFloats, AnyFloats]
    """What was said of the others' codes, leaning so."""


class Ours:
    """The product's features and ranker, trained on the labels that a split shows."""

    name = "ours"

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._fitted: tuple[str, Fitted] | None = None

    def scores(self, split: Split) -> AnyFloats:
        """See Method; the firm's own labelled codes are history, and training rows asked without themselves."""
        asked = self.bench.asked(split)
        if not len(split.others):
            found: AnyFloats = asked[:, :, [COLUMN["encoder_name"], COLUMN["neighbours"]]].sum(axis=2)
            return found
        fitted = self.fitted(split.fold)
        weights = fitted.fit.weights
        if len(split.own) > 1:
            rest = [split.own[split.own != row] for row in split.own]
            learned = fitted.taught.features(split.own, rest)
            own = self.bench.joined(split.own, self.bench.own_features(split.own, rest), learned, rest)
            blocks = [*fitted.blocks, (own, self.bench.task.labels[split.own], OWN_ROWS)]
            weights = fit_logit(blocks, fitted.fit.recipe, start=weights, iterations=REFIT_ITERATIONS)
        histories = [split.own] * len(split.asked)
        learned = fitted.taught.features(split.asked, histories)
        said = self.bench.joined(split.asked, asked, learned, histories) @ weights
        share = fitted.shares[int(len(split.own) > 0)]
        return Neighbours.of(self.bench.task, split.asked).leaning(said, share)

    def practice(self, fold: str, warm: bool) -> tuple[Ints, AnyFloats]:
        """See Method."""
        if (self.bench.task.firms == fold).all():
            return NOTHING, np.zeros((0, len(self.bench.task.chart)))
        fitted = self.fitted(fold)
        return fitted.others, fitted.practised[int(warm)]

    def fitted(self, fold: str) -> Fitted:
        """Fit without a firm; kept while the same firm is asked."""
        if self._fitted is None or self._fitted[0] != fold:
            self._fitted = None
            self._fitted = (fold, self._fit(np.flatnonzero(self.bench.task.firms != fold)))
        return self._fitted[1]

    def _fit(self, others: Ints) -> Fitted:
        bench, labels = self.bench, self.bench.task.labels[others]
        histories = [bench.histories[row] for row in others]
        blocks, part = practised_blocks(bench, others)
        bounded = len(set(bench.task.firms[others])) == 1
        priors = [None] if bench.prior is None else [None, bench.prior[: blocks[0][0].shape[2]]]
        fits = [fit_practised(blocks, part, Recipe(prior, bounded)) for prior in priors]
        best = max(fits, key=lambda fit: fit.likelihood)
        lists = np.unique(
            [f"{part[i]}/{bench.task.firms[row]}" for i, row in enumerate(others)], return_inverse=True
        )[1]
        near = [Neighbours.of(bench.task, others, lists=lists, histories=seen) for seen in (None, histories)]
        cold, warm = (around.best_share(said, labels) for around, said in zip(near, best.scores, strict=True))
        practised = near[0].leaning(best.scores[0], cold), near[1].leaning(best.scores[1], warm)
        return Fitted(Taught(bench, others), best, others, blocks, (cold, warm), practised)


class OursTwinOnly:
    """The product's model as it comes out of training on simulated companies; own history is its only real label."""

    name = "ours, twin only"

    def __init__(self, bench: Workbench, predictor: MappingPredictor) -> None:
        self.bench = bench
        self.predictor = predictor
        task = bench.task
        self.learned = np.stack([predictor.learned.of_query(query, task.chart) for query in task.queries])

    def scores(self, split: Split) -> AnyFloats:
        """See Method."""
        return np.concatenate([self.bench.asked(split), self.learned[split.asked]], axis=2) @ self.predictor.weights

    def practice(self, fold: str, warm: bool) -> tuple[Ints, AnyFloats]:
        """See Method."""
        others = np.flatnonzero(self.bench.task.firms != fold)
        features = self.bench.with_history if warm else self.bench.bare
        return others, np.concatenate([features[others], self.learned[others]], axis=2) @ self.predictor.weights


def practised_blocks(bench: Workbench, rows: Ints) -> tuple[tuple[Block, Block], Ints]:
    """Return the features of rows without history and with it, and the part of each row.

    What is learned from others is learned without the row's own part.
    """
    part = parts_of(bench.task, rows, INNER_PARTS)
    histories, nothing = [bench.histories[row] for row in rows], [NOTHING] * len(rows)
    bare, known = (np.zeros((len(rows), len(bench.task.chart), LEARNED), np.float32) for _ in range(2))
    for number in np.unique(part):
        taught, mine = Taught(bench, rows[part != number]), np.flatnonzero(part == number)
        bare[mine] = taught.features(rows[mine], [NOTHING] * len(mine))
        known[mine] = taught.features(rows[mine], [histories[place] for place in mine])
    labels = bench.task.labels[rows]
    cold = bench.joined(rows, bench.bare[rows], bare, nothing)
    warm = bench.joined(rows, bench.with_history[rows], known, histories)
    return ((cold, labels, 1.0), (warm, labels, 1.0)), part
