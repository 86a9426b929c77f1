"""Figures of foresight, against their definitions and the usual library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets.sync_health.baselines import fit_baselines
from crewflow_assets.sync_health.evaluation import Judged, alarms, as_record, figures, pr_auc, recall_at, rows_of
from crewflow_assets.sync_health.features import COLUMN, FEATURES


def rows(failing: list[float], known: list[float]) -> np.ndarray:
    found = np.zeros((len(failing), len(FEATURES)), np.float32)
    found[:, COLUMN["failures_in_a_row"]], found[:, COLUMN["known_attempts"]] = failing, known
    found[:, COLUMN["lead_minutes"]] = 12
    return found


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60))
def test_pr_auc_is_average_precision_with_ties_taken_together(pairs: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import average_precision_score

    p, y = np.array([a / 6 for a, _ in pairs]), np.array([float(b) for _, b in pairs])
    if y.any():
        assert pr_auc(p, y) == pytest.approx(average_precision_score(y, p))
    else:
        assert np.isnan(pr_auc(p, y))


def test_recall_is_the_most_that_can_be_told_of_at_a_precision() -> None:
    p, y = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1.0, 1, 0, 1, 0])
    assert recall_at(p, y, 0.7) == 1.0  # three of four
    assert recall_at(p, y, 0.8) == pytest.approx(2 / 3)
    assert recall_at(p, 1 - y, 0.7) == 0


def test_row_sets() -> None:
    table = rows([0, 13, 14, 0], [0, 20, 20, 5])
    assert rows_of("all", table).tolist() == [True] * 4
    assert rows_of("live", table).tolist() == [True, True, False, True]
    assert rows_of("onset", table).tolist() == [False, False, False, True]


def test_alarms_are_counted_by_day_and_by_what_came_before() -> None:
    said, failed = np.array([0.9, 0.8, 0.2, 0.71]), np.array([1.0, 0, 1, 1])
    found = alarms(said, failed, rows([3, 0, 0, 0], [9, 9, 9, 9]), np.array([0, 1, 1.5, 2]) * 86_400e6)
    assert found == pytest.approx(
        {
            "per_day": 1.5,
            "precision": 2 / 3,
            "after_success": 2 / 3,
            "after_success_right": 0.5,
            "lead_minutes": 12,
        }
    )


def test_simple_methods_say_what_their_names_say() -> None:
    random = np.random.default_rng(0)
    table = random.random((400, len(FEATURES))).astype(np.float32)
    table[:, COLUMN["failures_in_a_row"]] = [0, 2] * 200
    table[0, COLUMN["known_attempts"]] = 0
    table[1:, COLUMN["known_attempts"]] = 9
    failed = (random.random(400) < 0.25).astype(float)
    methods = fit_baselines(table, failed, np.arange(400.0), seed=0)
    assert not methods["always no"](table).any()
    assert methods["same as last"](table)[:3].tolist() == [failed.mean(), 1, 0]
    for method in methods.values():
        said = method(table)
        assert said.shape == (400,)
        assert ((said >= 0) & (said <= 1)).all()


def test_a_record_has_the_promised_fields_and_nulls_for_what_cannot_be_counted() -> None:
    nothing = Judged(np.array([0.1, 0.2]), np.zeros(2), np.array(["a", "b"], object))
    record = as_record("onset", "ours", figures(nothing))
    assert list(record) == [
        *("rows", "method", "n", "base_rate", "pr_auc", "brier", "ece", "recall_at_p70", "recall_at_p50"),
    ]
    assert record["pr_auc"] is None
    assert record["brier"] == 0.025
