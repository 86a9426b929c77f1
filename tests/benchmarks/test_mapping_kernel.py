"""The kernel head: the textbook's posterior, whichever labels are learned first and whichever come as history."""

import numpy as np
import pytest

from benchmarks.mapping_kernel import LABEL_NOISE, TITLE_NOISE, Kernel, KernelHead
from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.cost_code_mapping.text import grams

LABELS = np.array([0, 0, 1, 1, 2, 2])
NOTHING: Ints = np.zeros(0, np.int64)


@pytest.fixture
def kernel() -> Kernel:
    random = np.random.default_rng(1)
    points = random.normal(size=(len(LABELS) + 3, 4))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    names = [grams(text) for text in ("brick", "block wall", "wire", "wiring", "pipe", "pipes")]
    titles = [grams(text) for text in ("masonry walls", "electrical wire", "plumbing pipe")]
    return Kernel.of([unit[:6], unit[6:]], [names, titles], LABELS)


def posterior(kernel: Kernel, labelled: list[int], asked: int) -> Floats:
    """Rasmussen & Williams 2006, 2.23, all at once."""
    count = len(LABELS)
    examples = [*labelled, *range(count, len(kernel.values))]
    noise = [LABEL_NOISE] * len(labelled) + [TITLE_NOISE] * 3
    targets = np.eye(3)[[*LABELS[labelled], 0, 1, 2]]
    weights = np.linalg.solve(kernel.values[np.ix_(examples, examples)] + np.diag(noise), targets)
    found: Floats = kernel.values[asked, examples] @ weights
    return found


def test_history_counts_as_if_it_had_been_learned(kernel: Kernel) -> None:
    head = KernelHead(kernel, np.array([0, 2]))
    found = head.scores(np.array([5, 3]), [np.array([1, 4]), NOTHING])
    np.testing.assert_allclose(found[0], posterior(kernel, [0, 2, 1, 4], 5), atol=1e-9)
    np.testing.assert_allclose(found[1], posterior(kernel, [0, 2], 3), atol=1e-9)


def test_a_history_that_was_learned_already_does_not_count_twice(kernel: Kernel) -> None:
    head = KernelHead(kernel, np.array([0, 2, 4]))
    asked = np.array([5])
    np.testing.assert_allclose(head.scores(asked, [np.array([2, 4])]), head.scores(asked, [NOTHING]))


def test_titles_answer_where_nothing_is_labelled(kernel: Kernel) -> None:
    found = KernelHead(kernel, NOTHING).scores(np.arange(6), [NOTHING] * 6)
    assert (found > 0).all()
    like = kernel.values[:6, 6:].argmax(axis=1)
    assert (found.argmax(axis=1) == like).mean() > 0.5


def test_spelling_brings_together_what_the_encoder_holds_apart() -> None:
    apart = np.eye(3)
    near = Kernel.of([apart[:2], apart[2:]], [[grams("pipe"), grams("pipes")], [grams("wire")]], np.array([0, 0]))
    assert near.values[0, 1] > near.values[0, 2]
