"""The conditional logit: recovered from choices drawn from known weights, whatever the scale and the mask."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from crewflow_assets.arrays import Floats
from crewflow_assets.cost_code_mapping.ranker import PENALTY, Queries, fit_conditional_logit

TRUE = np.array([3.0, -1.5, 2.0, 0.8, 0.0, 0.0, 0.0])
EVERY = np.ones(len(TRUE), bool)


def choices(number: int, *, seed: int) -> tuple[Floats, Queries]:
    """Draw queries of 3 to 12 candidates and choose among them as a conditional logit of the true weights does."""
    rng = np.random.default_rng(seed)
    starts = np.r_[0, np.cumsum(rng.integers(3, 13, number))].astype(np.int64)
    x = rng.normal(size=(starts[-1], len(TRUE)))
    utility = x @ TRUE + rng.gumbel(size=len(x))
    return x, Queries(starts, np.array([np.argmax(utility[a:b]) for a, b in pairwise(starts)]))


def test_the_fit_recovers_the_weights_that_choices_were_drawn_from() -> None:
    found = fit_conditional_logit(*choices(6000, seed=4), EVERY)
    assert found[:4] == pytest.approx(TRUE[:4], rel=0.08)
    assert np.abs(found[4:]).max() < 0.12


def test_the_scale_and_the_place_of_a_feature_do_not_matter_to_what_is_predicted() -> None:
    x, queries = choices(800, seed=5)
    scale = np.array([1, 1, 1000, 1, 1, 0.001, 1.0])
    one = fit_conditional_logit(x, queries, EVERY)
    assert fit_conditional_logit(x * scale, queries, EVERY) * scale == pytest.approx(one, rel=1e-2, abs=1e-3)
    assert fit_conditional_logit(x + 3, queries, EVERY) == pytest.approx(one, rel=1e-2, abs=1e-3)


def test_features_outside_the_mask_have_no_weight_and_no_influence() -> None:
    x, queries = choices(500, seed=6)
    mask = np.isin(np.arange(len(TRUE)), (0, 2))
    found = fit_conditional_logit(x, queries, mask)
    assert (found[mask] > 0.5).all()
    assert (found[~mask] == 0).all()
    others = np.where(mask, x, -7 * x)
    np.testing.assert_array_equal(fit_conditional_logit(others, queries, mask), found)


def test_a_feature_that_is_the_same_everywhere_has_no_weight() -> None:
    x, queries = choices(300, seed=7)
    x[:, 1] = 4.0
    found = fit_conditional_logit(x, queries, EVERY)
    assert abs(found[1]) < 1e-6
    assert np.isfinite(found).all()


def test_the_penalty_keeps_weights_finite_where_the_choice_is_always_plain() -> None:
    x, queries = choices(200, seed=8)
    x[:, 0] = 0
    x[queries.right_rows, 0] = 1
    found = fit_conditional_logit(x, queries, EVERY)
    assert 1 < found[0] < 1 / PENALTY


def test_the_gradient_vanishes_at_what_was_found() -> None:
    x, queries = choices(400, seed=9)
    found = fit_conditional_logit(x, queries, EVERY)
    gradient = np.zeros(len(TRUE))
    for (a, b), label in zip(pairwise(queries.starts), queries.labels, strict=True):
        p = np.exp(x[a:b] @ found - (x[a:b] @ found).max())
        gradient += (p / p.sum()) @ x[a:b] - x[a + label]
    gradient = gradient / len(queries) + 2 * PENALTY * found * x.std(axis=0) ** 2
    assert np.abs(gradient).max() < 1e-3


def test_a_single_candidate_tells_nothing() -> None:
    queries = Queries(np.arange(4), np.zeros(3, np.int64))
    assert fit_conditional_logit(np.random.default_rng(1).normal(size=(3, 7)), queries, EVERY).tolist() == [0.0] * 7


def test_queries_read_the_long_table() -> None:
    table = pd.DataFrame({"query": list("aaabbbbc"), "label": [0, 1, 0, 0, 0, 0, 1, 1]})
    queries = Queries.of(table)
    assert len(queries) == 3
    assert queries.starts.tolist() == [0, 3, 7, 8]
    assert queries.labels.tolist() == [1, 3, 0]
    assert queries.first_rows.tolist() == [0, 3, 7]
    assert queries.right_rows.tolist() == [1, 6, 7]


def test_an_empty_table_has_no_queries() -> None:
    assert len(Queries.of(pd.DataFrame({"query": [], "label": []}))) == 0


@pytest.mark.parametrize(
    ("labels", "number"),
    [([0, 1, 0, 0], 1), ([1, 1, 1, 0], 3)],
    ids=["none", "two"],
)
def test_a_query_without_exactly_one_label_is_refused(labels: list[int], number: int) -> None:
    table = pd.DataFrame({"query": list("aabb"), "label": labels})
    with pytest.raises(ValueError, match=f"2 queries have {number} labels; each needs exactly one"):
        Queries.of(table)


def test_two_labels_in_one_query_and_none_in_another_are_refused() -> None:
    with pytest.raises(ValueError, match="each needs exactly one"):
        Queries.of(pd.DataFrame({"query": list("aabb"), "label": [1, 1, 0, 0]}))
