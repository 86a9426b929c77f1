"""Simulated firms share one contractor's chart; what they teach draws a small set's ranker, a large one's less."""

import numpy as np
import pytest

from benchmarks import mapping_ours, mapping_simulated
from benchmarks.mapping_data import Task
from benchmarks.mapping_ours import Ours, Workbench, practised_blocks
from benchmarks.mapping_ranker import Recipe, fit_logit
from benchmarks.mapping_simulated import fit_prior, one_chart
from benchmarks.mapping_world import fit_on_world
from crewflow_assets.cost_code_mapping.features import FEATURES
from crewflow_assets.cost_code_mapping.model import MappingPredictor

SEED = 401


@pytest.fixture(scope="module")
def task() -> Task:
    return one_chart(SEED)


@pytest.fixture(scope="module")
def predictor() -> MappingPredictor:
    return fit_on_world(2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Task:
    for name, value in (("FIRMS", 3), ("CODES", 10)):
        monkeypatch.setattr(mapping_simulated, name, value)
    return one_chart(SEED)


def test_firms_file_into_one_chart_by_their_own_conventions(task: Task) -> None:
    assert len(task.folds) == mapping_simulated.FIRMS
    assert max(np.sum(task.firms == firm) for firm in task.folds) <= mapping_simulated.CODES
    mostly = {np.bincount(task.labels[task.firms == firm]).argmax() for firm in task.folds}
    assert len(mostly) > 1
    again = one_chart(SEED)
    np.testing.assert_array_equal(task.labels, again.labels)
    assert {q.source.name for q in task.queries} != {q.source.name for q in one_chart(SEED + 1).queries}


def test_a_prior_has_a_weight_for_every_feature_of_a_set_with_headings(
    small: Task, predictor: MappingPredictor
) -> None:
    prior = fit_prior(predictor, [small])
    blocks, part = practised_blocks(Workbench(small), np.arange(len(small.labels)))
    assert prior.shape == blocks[0][0].shape[2:]
    assert np.isfinite(prior).all()
    assert len(set(part)) == 3
    own = predictor.weights[: len(FEATURES)]
    assert not np.allclose(prior[: len(FEATURES)], own)


def test_a_prior_counts_for_less_the_more_codes_there_are() -> None:
    rng = np.random.default_rng(0)
    features, prior = rng.normal(size=(40, 5, len(FEATURES))), np.zeros(len(FEATURES))
    prior[0] = 1.0
    labels = np.asarray((3 * features[:, :, 1]).argmax(axis=1), np.int64)

    def away(times: int) -> float:
        block = (np.tile(features, (times, 1, 1)), np.tile(labels, times), 1.0)
        return float(np.linalg.norm(fit_logit([block], Recipe(prior, bounded=False)) - prior))

    assert 0 < away(1) < away(4) < away(40)


def test_a_long_chart_gets_no_prior(
    small: Task, predictor: MappingPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = np.ones(100)
    assert Workbench(small, predictor, prior).prior is prior
    monkeypatch.setattr(mapping_ours, "WIDEST_CHART", len(small.chart) - 1)
    bench = Workbench(small, predictor, prior)
    assert bench.prior is None
    assert bench.world is None


def test_a_prior_is_taken_if_the_other_firms_labels_speak_for_it(small: Task, predictor: MappingPredictor) -> None:
    taken = []
    for prior in (fit_prior(predictor, [small]), np.full(60, -50.0)):
        fitted = Ours(Workbench(small, predictor, prior)).fitted(small.folds[0])
        taken.append(fitted.fit.recipe.prior is not None)
    assert taken == [True, False]
