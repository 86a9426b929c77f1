"""The confidence sequence: against its formula, what makes it wider, and what it does with next to nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.experiments.sequences import FEWEST_COMPANIES, LEVEL, ArmMean, arm_mean, difference, radius


def arm(value: float, variance: float, companies: float) -> ArmMean:
    return ArmMean(np.array(value), np.array(variance), np.array(companies))


def test_with_many_companies_it_is_the_normal_mixture() -> None:
    variance, scale, alpha = 0.0008, 0.1, 0.05
    found = radius(np.array(variance), np.array(1e9), scale=scale, alpha=alpha)
    # the mixture likelihood ratio of N(0, scale²) against 0 is exactly 1 / alpha at the bound
    ratio = np.sqrt(variance / (variance + scale**2)) * np.exp(
        found**2 * scale**2 / (2 * variance * (variance + scale**2))
    )
    assert ratio == pytest.approx(1 / alpha, rel=1e-4)


@given(
    variance=st.floats(1e-6, 1.0),
    freedom=st.floats(8, 1000),
    scale=st.floats(0.01, 1.0),
    alpha=st.floats(0.001, 0.05),
)
def test_it_is_wider_than_one_look_and_widens_with_less(
    variance: float, freedom: float, scale: float, alpha: float
) -> None:
    from scipy import stats

    def half(v: float, f: float, a: float) -> float:
        return float(radius(np.array(v), np.array(f), scale=scale, alpha=a))

    width = half(variance, freedom, alpha)
    assert width > stats.t.isf(alpha / 2, freedom) * np.sqrt(variance)
    assert np.isfinite(width)
    assert half(2 * variance, freedom, alpha) > width
    assert half(variance, freedom / 2, alpha) > width, "without bound, but never below"
    assert half(variance, freedom, alpha / 2) >= width


def test_a_company_counts_once_and_what_is_absent_not_at_all() -> None:
    means = np.array([[0.2, 0.4, 0.9, np.nan]])
    found = arm_mean(means, np.array([[True, True, False, False]]), least_spread=0.0)
    assert (found.value[0], found.companies[0]) == (pytest.approx(0.3), 2)
    assert found.variance[0] == pytest.approx(np.var([0.2, 0.4], ddof=1) / 2)


def test_companies_that_agree_completely_still_have_a_width() -> None:
    means, everyone = np.ones(20), np.ones(20, bool)
    same = arm_mean(means, everyone, least_spread=0.05)
    found = difference(same, same, scale=0.1, alpha=LEVEL)
    assert found.low < 0 < found.high


@pytest.mark.parametrize("companies", [0, 1, FEWEST_COMPANIES - 1])
def test_too_few_companies_have_no_interval(companies: int) -> None:
    few, many = arm(0.9, 0.001, companies), arm(0.1, 0.001, 50)
    found = difference(many, few, scale=0.1, alpha=LEVEL)
    assert np.isnan(found.value)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_the_last_look_is_narrower_and_the_others_are_not() -> None:
    from scipy import stats

    one, other = arm(0.5, 0.0004, 100), arm(0.8, 0.0004, 100)
    open_look = difference(one, other, scale=0.1, alpha=LEVEL)
    last_look = difference(one, other, scale=0.1, alpha=LEVEL, last=True)
    wide, narrow = (found.high - found.value for found in (open_look, last_look))
    assert wide == pytest.approx(radius(np.array(0.0008), np.array(198.0), scale=0.1, alpha=LEVEL / 2))
    assert narrow == pytest.approx(stats.t.isf(LEVEL / 4, 198) * np.sqrt(0.0008))
    assert narrow < wide


def test_the_difference_is_treatment_minus_control() -> None:
    found = difference(arm(0.5, 0.0004, 100), arm(0.8, 0.0004, 100), scale=0.1, alpha=LEVEL)
    assert found.value == pytest.approx(0.3)
    assert 0 < found.low < 0.3 < found.high
