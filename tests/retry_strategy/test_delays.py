"""The grid of delays, and how a delay is drawn within a bucket."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS, EDGES, LONGEST, bucket_of, earliest_bucket, spread


def test_each_delay_is_in_one_bucket() -> None:
    assert bucket_of(np.array([0.0, 4.9, 5.0, 89.0, 86_400.0, 1e7])).tolist() == [
        0,
        0,
        1,
        4,
        BUCKETS - 1,
        BUCKETS - 1,
    ]
    assert bucket_of(DELAYS).tolist() == list(range(BUCKETS))


@given(
    st.integers(0, BUCKETS - 1),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, LONGEST, exclude_max=True),
)
def test_a_drawn_delay_stays_in_its_bucket_and_obeys_what_the_api_asks(
    bucket: int, uniform: float, asked: float
) -> None:
    bucket = max(bucket, earliest_bucket(asked))
    drawn = spread(bucket, uniform, not_before=asked)
    assert max(EDGES[bucket], asked, 1) <= drawn * (1 + 1e-12)
    assert drawn <= EDGES[bucket + 1]


def test_a_bucket_that_is_over_is_refused() -> None:
    with pytest.raises(ValueError, match=r"600 s lies behind bucket 4, which ends at 120 s"):
        spread(4, 0.5, not_before=600)
    assert earliest_bucket(LONGEST) == BUCKETS


def test_the_twin_logs_in_the_same_buckets() -> None:
    from crewflow_assets.twin.retries import parameters

    assert tuple(parameters.EDGES) == EDGES
