"""Calibration and thresholds, on confidences whose truth is known because they were drawn from it."""

import numpy as np
import pytest

from crewflow_assets.arrays import Floats, Objects
from crewflow_assets.evaluation.calibration import (
    automatic_threshold,
    expected_calibration_error,
    precision_by_coverage,
    reliability,
)


def drawn(rng: np.random.Generator, rows: int, companies: int) -> tuple[Floats, Floats, Objects]:
    """Draw confidences that mean what they say: each row is right with its confidence."""
    confidence = rng.beta(4, 1, rows)
    right = (rng.random(rows) < confidence).astype(float)
    return confidence, right, rng.integers(0, companies, rows).astype(str).astype(object)


def test_the_calibration_error_of_true_confidences_is_near_zero() -> None:
    confidence, right, _ = drawn(np.random.default_rng(1), 20_000, 50)
    assert expected_calibration_error(confidence, right) < 0.012


@pytest.mark.parametrize("shift", [0.1, 0.2])
def test_the_calibration_error_finds_by_how_much_confidences_boast(shift: float) -> None:
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.3, 0.7, 20_000)
    right = (rng.random(20_000) < truth).astype(float)
    assert expected_calibration_error(truth + shift, right) == pytest.approx(shift, abs=0.012)


def test_the_calibration_error_of_fewer_rows_than_bins_is_the_mean_distance() -> None:
    assert expected_calibration_error(np.array([0.9, 0.6]), np.array([1.0, 0.0])) == pytest.approx(0.35)


def test_the_calibration_error_of_equal_confidences_does_not_depend_on_the_order_of_the_rows() -> None:
    confidence, right = np.full(1000, 0.8), np.arange(1000) % 10 < 8
    for rows in (right, np.sort(right)):
        assert expected_calibration_error(confidence, rows.astype(float)) == pytest.approx(0)


def test_reliability_bins_hold_equal_numbers_in_the_order_of_confidence() -> None:
    confidence, right, _ = drawn(np.random.default_rng(3), 1000, 5)
    said, was, count = reliability(confidence, right)
    assert count.tolist() == [100] * 10
    assert (np.diff(said) > 0).all()
    assert (said * count).sum() == pytest.approx(confidence.sum())
    assert (was * count).sum() == pytest.approx(right.sum())


def test_precision_by_coverage_takes_the_surest_rows_first() -> None:
    coverage, precision = precision_by_coverage(np.array([0.2, 0.9, 0.6, 0.4]), np.array([0.0, 1.0, 1.0, 0.0]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert precision.tolist() == pytest.approx([1.0, 1.0, 2 / 3, 0.5])


def test_the_threshold_keeps_its_promise_on_companies_that_it_has_not_seen() -> None:
    rng = np.random.default_rng(4)
    shares, coverages = [], []
    for _ in range(40):
        threshold = automatic_threshold(*drawn(rng, 1500, 40))
        assert threshold.value is not None
        confidence, right, _ = drawn(rng, 20_000, 40)
        automatic = confidence >= threshold.value
        shares.append(right[automatic].mean())
        coverages.append(automatic.mean())
    assert np.mean(shares) >= 0.945
    assert np.quantile(shares, 0.05) >= 0.93
    # The best that any threshold can do: precision E[c | c ≥ t] is 95 % at t ≈ .90, where 34 % of Beta(4, 1) lie.
    assert np.mean(coverages) == pytest.approx(0.34, abs=0.06)


def test_the_threshold_is_the_lowest_that_qualifies() -> None:
    confidence = np.linspace(1.0, 0.0, 1000)
    right = (np.arange(1000) < 570).astype(float)
    clusters = (np.arange(1000) % 20).astype(object)
    found = automatic_threshold(confidence, right, clusters)
    assert found.value is not None
    automatic = confidence >= found.value
    assert automatic.mean() == pytest.approx(0.6, abs=0.005)  # 570 of 600 are 95 %
    assert found.right == right[automatic].mean() >= 0.95
    assert found.coverage == automatic.mean()
    assert found.low >= 0.93


@pytest.mark.parametrize("share", [0.5, 0.9, 0.94])
def test_nothing_is_automatic_where_no_threshold_is_right_often_enough(share: float) -> None:
    right = (np.arange(2000) % 100 < share * 100).astype(float)
    clusters = (np.arange(2000) // 100).astype(object)
    found = automatic_threshold(np.full(2000, 0.99), right, clusters)
    assert found.value is None
    assert found.coverage == 0


def test_twenty_nine_right_decisions_are_too_few_to_trust() -> None:
    clusters = np.arange(30).astype(object)
    assert automatic_threshold(np.full(29, 0.99), np.ones(29), clusters[:29]).value is None
    assert automatic_threshold(np.full(30, 0.99), np.ones(30), clusters).value == 0.99


def test_one_company_cannot_vouch_for_the_others() -> None:
    found = automatic_threshold(np.full(500, 0.99), np.ones(500), np.full(500, "only", object))
    assert found.value is None


def test_a_company_that_is_often_wrong_keeps_the_bound_down() -> None:
    """Rows of 96 % right do not qualify when the wrong ones are all of one company among few."""
    companies = np.repeat(np.array(["a", "b", "c", "d"], object), 100)
    right = np.ones(400)
    right[:16] = 0
    spread = np.ones(400)
    spread[::25] = 0
    assert automatic_threshold(np.full(400, 0.9), spread, companies).value == 0.9
    assert automatic_threshold(np.full(400, 0.9), right, companies).value is None
