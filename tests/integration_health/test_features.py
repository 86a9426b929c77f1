"""What the forecast sees, and the scores that it starts from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.integration_health.days import MEASURES, PLACE, metrics_of_sums
from crewflow_assets.integration_health.features import (
    COLUMN,
    FEATURES,
    GIVEN,
    MEAN,
    NOW,
    WEEK,
    feature_rows,
    given_rows,
    scores_of,
    sums_of,
)
from crewflow_assets.integration_health.score import Metrics, score_of
from tests.integration_health.histories import day, days, window


def feature(name: str, *last: np.ndarray) -> float:
    return float(feature_rows(window(*last))[0, COLUMN[name]])


counts = st.integers(0, 300)


@given(ok=counts, errors=counts, conflicts=counts, duplicates=counts, latency=st.floats(0, 3000))
def test_many_scores_at_once_are_the_scores_one_by_one(
    ok: int, errors: int, conflicts: int, duplicates: int, latency: float
) -> None:
    metrics = Metrics(ok + errors, ok, latency, errors, conflicts, duplicates)
    found = scores_of(sums_of([metrics]))
    one = score_of(metrics)
    for name, values in found.items():
        said = one.overall if name == "overall" else getattr(one, name)
        assert (np.isnan(values[0]) and said is None) or values[0] == pytest.approx(said)


def test_quiet_days_that_go_on_leave_the_score_where_it_is() -> None:
    rows = feature_rows(window())
    assert rows[0, COLUMN[NOW]] == rows[0, COLUMN[MEAN]] == rows[0, COLUMN[WEEK]] == (100 + 50 + 100 + 100) / 4


def test_errors_that_leave_the_window_are_forgotten_and_the_last_week_comes_again() -> None:
    long_ago = feature_rows(window(day(errors=20), *[day()] * 29))
    assert long_ago[0, COLUMN["leaving_errors"]] == 20
    assert long_ago[0, COLUMN[WEEK]] > long_ago[0, COLUMN[NOW]] + 4
    yesterday = feature_rows(window(day(errors=20, auth=20)))
    assert yesterday[0, COLUMN[WEEK]] < yesterday[0, COLUMN[MEAN]] < yesterday[0, COLUMN[NOW]]
    assert feature("auth_1d", day(errors=20, auth=20)) == feature("errors_3d", day(errors=20)) == 20
    assert feature("days_since_error", day(errors=1), day(), day()) == 2
    assert feature("days_since_error") == 30


def test_a_young_integration_is_taken_by_the_days_that_it_has() -> None:
    young = window()
    young[:, :20] = 0
    rows = feature_rows(young)
    assert rows[0, COLUMN["known_days"]] == 10
    assert rows[0, COLUMN["days_without_syncs"]] == 0
    assert rows[0, COLUMN[MEAN]] == rows[0, COLUMN[NOW]]


def test_what_a_request_can_carry_is_the_same_feature_as_from_the_days() -> None:
    windows = days(6, 30).values
    rows = feature_rows(windows)
    alone = given_rows([metrics_of_sums(sums) for sums in windows.sum(axis=1)])
    columns = [COLUMN[name] for name in GIVEN]
    np.testing.assert_allclose(alone[:, columns], rows[:, columns], rtol=1e-5)
    others = [COLUMN[name] for name in FEATURES if name not in GIVEN]
    assert np.isnan(alone[:, others]).all()


def test_the_order_of_days_before_the_last_fortnight_is_seen_only_in_what_leaves() -> None:
    early, late = day(errors=5), day()
    one = feature_rows(window(early, late, *[day()] * 20))
    other = feature_rows(window(late, early, *[day()] * 20))
    assert [FEATURES[i] for i in np.flatnonzero(one[0] != other[0])] == ["days_since_error"]
    assert len(MEASURES) == len(PLACE)
