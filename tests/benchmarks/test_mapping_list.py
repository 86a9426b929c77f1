"""Codes lean on the codes like them: never across lists, never on an answer that knew their own label."""

import numpy as np
import pytest

from benchmarks.mapping_data import Task
from benchmarks.mapping_list import SHARES, Neighbours
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare

NAMES = ("Brick walls", "Block walls", "Pipe", "Drain pipe", "Wiring")
CODES = ("A-10-1", "A-10-2", "B-20-1", "B-20-2", "C-30-1")


@pytest.fixture
def task() -> Task:
    chart = Chart([Target("1", "Masonry", None, None), Target("2", "Plumbing", None, None)])
    sources = [
        Source("cost_code", code, name, None, None, None, "plumbing") for code, name in zip(CODES, NAMES, strict=True)
    ]
    labels = np.array([0, 0, 1, 1, 0])
    firms = np.array(["firm"] * len(NAMES), object)
    return Task(
        name="made up",
        chart=chart,
        queries=tuple(prepare(sources)),
        labels=labels,
        accepted=tuple(frozenset([int(label)]) for label in labels),
        firms=firms,
        sections=firms,
        unseen=np.ones(len(NAMES), bool),
        notes=(),
    )


ROWS = np.arange(len(NAMES))
SCORES = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]]))


def test_a_doubtful_code_follows_its_neighbour(task: Task) -> None:
    near = Neighbours.of(task, ROWS)
    np.testing.assert_allclose(near.weights.sum(axis=1), 1, rtol=1e-5)
    leaning = np.exp(near.leaning(SCORES, 0.4))
    np.testing.assert_allclose(leaning.sum(axis=1), 1, rtol=1e-5)
    assert leaning[1].argmax() == 0
    np.testing.assert_allclose(near.leaning(SCORES, 0.0), SCORES)


def test_nothing_leans_across_lists(task: Task) -> None:
    near = Neighbours.of(task, ROWS, lists=np.array([0, 1, 0, 0, 2]))
    assert near.weights[1].sum() == near.weights[4].sum() == 0
    assert near.weights[0, 1] == 0
    np.testing.assert_allclose(near.leaning(SCORES, 0.3)[1], SCORES[1])


def test_no_code_leans_on_an_answer_that_knew_its_label(task: Task) -> None:
    none = np.zeros(0, np.int64)
    near = Neighbours.of(task, ROWS, histories=[none, np.array([0, 3]), none, none, none])
    assert near.weights[0, 1] == near.weights[3, 1] == 0
    assert near.weights[2, 1] > 0
    assert near.weights[1, 0] > 0


def test_the_share_is_the_one_under_which_the_labels_are_likeliest(task: Task) -> None:
    near = Neighbours.of(task, ROWS)
    assert near.best_share(SCORES, task.labels) > 0
    opposite = np.array([0, 1, 1, 0, 1])
    sure = np.where(np.eye(2, dtype=bool)[opposite], 0.0, -6.0)
    assert near.best_share(sure, opposite) == SHARES[0]
