import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.twin.retries.parameters import (
    BRIEF_QUANTILES,
    EDGES,
    brief_seconds,
    brief_survival,
)


def test_the_grid_of_delays_rises() -> None:
    assert list(EDGES) == sorted(set(EDGES))


@pytest.mark.parametrize(("seconds", "share"), [(3, 0.22), (150, 0.36), (600, 0.66)])
def test_brief_troubles_last_as_long_as_was_measured(seconds: float, share: float) -> None:
    drawn = brief_seconds(np.random.default_rng(1).random(20_000), 1.0)
    assert (drawn <= seconds).mean() == pytest.approx(share, abs=0.015)
    assert (seconds, share) in BRIEF_QUANTILES


@given(st.floats(0.001, 0.999), st.floats(0.5, 2))
def test_survival_is_the_inverse_of_the_lengths(quantile: float, scale: float) -> None:
    seconds = brief_seconds(np.array([quantile]), scale)
    assert brief_survival(seconds, scale) == pytest.approx([1 - quantile], abs=1e-9)
