"""The features of a conflict."""

from math import isnan, log, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crewflow_assets.conflict_resolution.case import LEVELS, Batch, Case, Third
from crewflow_assets.conflict_resolution.features import (
    CASE_FEATURES,
    COLUMN,
    FEATURES,
    PRD,
    choice_features,
    features_of,
    lunch,
    matrix_of,
    rounding,
)


def feature(name: str, **known: Any) -> float:
    standing: dict[str, Any] = {"conflict_type": "hours_mismatch", "crewflow_value": 8.0, "external_value": 7.5}
    case = Case(**(standing | known))
    return float(features_of(case)[COLUMN[name]])


def test_the_features_of_the_prd_are_there() -> None:
    assert set(PRD) <= set(FEATURES)
    row = features_of(
        Case(
            conflict_type="duplicate",
            crewflow_value=8.0,
            external_value=7.5,
            weekday=4,
            project_phase=0.5,
            worker_reliability=0.9,
            hours_since_sync=3.0,
        )
    )
    assert [row[COLUMN[name]] for name in PRD] == pytest.approx([0.5, 3.0, 1.0, 0.9, 0.5, 4.0])


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"), [(7.92, 8.0, 1), (8.0, 7.92, -1), (8.0, 7.75, 0), (8.0, 5.1, 0), (7.92, 7.9, 0)]
)
def test_quarter_hour_rounding(ours: float, theirs: float, expected: float) -> None:
    assert rounding(ours, theirs) == expected


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(8.0, 7.5, 1), (7.0, 8.0, -1), (8.0, 7.25, 0)])
def test_lunch(ours: float, theirs: float, expected: float) -> None:
    assert lunch(ours, theirs) == expected


def test_what_is_unknown_is_nan_and_what_is_known_is_not() -> None:
    row = features_of(Case(conflict_type="something else"))
    unknown = {name for name in CASE_FEATURES if isnan(row[COLUMN[name]])}
    assert {"difference", "weekday", "edit_gap_hours", "agreeing_crewflow", "conflict_type", "batch_size"} <= unknown
    assert not np.isnan(row[len(CASE_FEATURES) :]).any()


def test_who_edited_last() -> None:
    edits = {"crewflow_edited_hours_ago": 2.0, "external_edited_hours_ago": 6.0}
    editors = {"crewflow_editor": "foreman", "external_editor": "bookkeeper"}
    assert feature("edit_gap_hours", **edits, **editors) == 4.0
    assert feature("last_editor", **edits, **editors) == feature("crewflow_editor", **edits, **editors)
    swapped = {"crewflow_edited_hours_ago": 6.0, "external_edited_hours_ago": 2.0}
    assert feature("last_editor", **swapped, **editors) == feature("external_editor", **swapped, **editors)


def test_third_records_side_with_the_value_they_hold() -> None:
    third = (
        Third("previous_day", 8.0, 0.9),
        Third("previous_day", 8.0, 0.9),
        Third("crew", 7.5, 0.5),
        Third("schedule", 10.0, 0.7),
    )
    assert feature("agreeing_crewflow", third=third) == 2
    assert feature("agreeing_external", third=third) == 1
    assert feature("third_neither", third=third) == 1
    assert feature("past_days_crewflow", third=third) == 2
    assert feature("third_weight_crewflow", third=third) == pytest.approx(2 * log(9), rel=1e-5)
    assert feature("third_best_neither", third=third) == pytest.approx(log(0.7 / 0.3), rel=1e-5)


def test_counts_that_are_told_win_over_those_that_are_listed() -> None:
    third = (Third("crew", 8.0),)
    assert feature("agreeing_crewflow", third=third, agreeing_crewflow=5.0, agreeing_external=0.0) == 5


def test_texts_are_compared() -> None:
    texts = {"crewflow_value": "01-100", "external_value": "01-100-20"}
    assert feature("one_contains_other", **texts) == 1
    assert feature("more_digits_external", **texts) == 2
    assert 0 < feature("difference", **texts) < 1
    assert isnan(feature("relative_difference", **texts))


def test_past_choices_are_shrunk_to_the_wider_level() -> None:
    none = choice_features(np.zeros((1, len(LEVELS), 3)))[0]
    assert none[:3] == pytest.approx([1 / 3] * 3)
    company = np.zeros((1, len(LEVELS), 3))
    company[0, -1] = [90, 10, 0]
    shares = choice_features(company)[0]
    assert shares[0] > 0.85  # nothing alike was decided yet: the company's habit stands in
    alike = company.copy()
    alike[0, 0] = [0, 20, 0]
    assert choice_features(alike)[0][1] > 0.8


@example(ours=0.0, theirs=7.8e-94, thirds=[8.0])
@given(
    ours=st.floats(0, 24),
    theirs=st.floats(0, 24),
    thirds=st.lists(st.floats(0, 24) | st.text(max_size=5), max_size=4),
)
def test_any_case_has_a_row_of_finite_numbers_or_nan(ours: float, theirs: float, thirds: list[float | str]) -> None:
    case = Case(
        conflict_type="hours_mismatch",
        crewflow_value=ours,
        external_value=theirs,
        third=tuple(Third("crew", value, nan) for value in thirds),
        batch=Batch(size=3),
    )
    row = matrix_of([case])[0]
    assert row.shape == (len(FEATURES),)
    assert not np.isinf(row).any()


def test_no_cases_are_an_empty_matrix() -> None:
    assert matrix_of([]).shape == (0, len(FEATURES))
