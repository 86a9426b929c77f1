"""The PRD's score: exactly its formula, clamped, and null without syncs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.integration_health.score import NOTHING, Metrics, Score, score_of


def test_the_formula_of_the_prd() -> None:
    found = score_of(Metrics(720, 712, 640.0, 8, 3, 1))
    assert found == Score(712 / 720 * 100, 100 - 640 / 10, 100 - 8, 100 - (3 + 1))
    assert found.overall == pytest.approx((712 / 720 * 100 + 36 + 92 + 96) / 4)


def test_without_syncs_there_is_no_score() -> None:
    assert score_of(Metrics(conflicts=3)) == NOTHING
    assert NOTHING.overall is None


def test_without_a_measured_latency_there_is_no_overall_score() -> None:
    found = score_of(Metrics(10, 10))
    assert (found.sync_success_rate, found.latency, found.overall) == (100, None, None)


def test_components_are_clamped() -> None:
    assert score_of(Metrics(500, 0, 99_999.0, 500, 80, 30)) == Score(0, 0, 0, 0)


COUNTS = st.integers(0, 10**6)


@given(
    st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total))),
    st.floats(0, 1e9),
    COUNTS,
    COUNTS,
)
def test_whatever_happened_the_score_lies_between_0_and_100(
    syncs: tuple[int, int], latency: float, conflicts: int, duplicates: int
) -> None:
    total, ok = syncs
    found = score_of(Metrics(total, ok, latency, total - ok, conflicts, duplicates))
    overall = found.overall
    assert overall is not None
    for value in (found.sync_success_rate, found.latency, found.error_rate, found.data_quality, overall):
        assert value is not None
        assert 0 <= value <= 100
