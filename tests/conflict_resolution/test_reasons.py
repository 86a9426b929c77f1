"""Reasons name the facts that weighed."""

from dataclasses import replace

import numpy as np
import pytest

from crewflow_assets.conflict_resolution.case import Case, Third
from crewflow_assets.conflict_resolution.features import COLUMN, FEATURES
from crewflow_assets.conflict_resolution.reasons import Asked, reasons, system_name

CASE = Case(
    conflict_type="hours_mismatch",
    crewflow_value=8.0,
    external_value=7.5,
    weekday=4,
    crewflow_edited_hours_ago=2.0,
    external_edited_hours_ago=6.0,
    crewflow_editor="foreman",
    third=(*(Third("previous_day", 8.0),) * 9, Third("crew", 7.5), Third("crew", 8.0), Third("schedule", 8.0)),
    choices=((2.0, 1.0, 0.0), (20.0, 5.0, 1.0), (30.0, 30.0, 1.0)),
)


def weighing(**by_feature: float) -> np.ndarray:
    found = np.zeros((3, len(FEATURES)))
    for name, weight in by_feature.items():
        found[0, COLUMN[name]] = weight
    return found


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (
            {"edit_gap_hours": 2.0, "past_days_crewflow": 1.0},
            "CrewFlow was edited 2 h ago by the foreman, QuickBooks 6 h ago; this worker's last 9 Fridays were 8.0 h",
        ),
        (
            {"agreeing_crewflow": 2.0},
            "1 of 2 crew mates have 8.0 h that day, as CrewFlow says; 1 of 2 crew mates have 7.5 h that day, as "
            "QuickBooks says",
        ),
        (
            {"lunch": 2.0, "chose_crewflow_alike": 1.0},
            "QuickBooks has 0.5 h less, the length of a lunch break; your people kept CrewFlow's value in 2 of 3 "
            "like cases",
        ),
    ],
)
def test_the_facts_that_weighed_most_come_first(weights: dict[str, float], expected: str) -> None:
    [said] = reasons([Asked(CASE, "use_crewflow", system_name("quickbooks"))], lambda _: weighing(**weights)[None])
    assert said == expected[0].upper() + expected[1:]


def test_each_case_gets_its_own_reason_and_only_those_with_several_facts_are_weighed() -> None:
    one, other = Asked(CASE, "use_crewflow", "QuickBooks"), Asked(CASE, "use_external", "QuickBooks")
    plain = Asked(replace(CASE, third=(), crewflow_edited_hours_ago=None, choices=()), "manual", "QuickBooks")
    weights = {0: weighing(edit_gap_hours=2.0), 2: weighing(agreeing_crewflow=-2.0)}
    said = reasons([one, plain, other], lambda places: np.stack([weights[place] for place in places.tolist()]))
    assert said[0].startswith("CrewFlow was edited")
    assert said[1] == reasons([plain], never)[0] == "QuickBooks has 0.5 h less, the length of a lunch break"
    assert said[2].startswith("1 of 2 crew mates")


def test_nothing_is_weighed_where_a_sentence_holds_all_facts() -> None:
    two = Asked(replace(CASE, third=()), "manual", "QuickBooks")
    [said] = reasons([two], never)
    assert said.startswith("CrewFlow was edited")
    assert said.endswith("; QuickBooks has 0.5 h less, the length of a lunch break")


def never(_places: object) -> np.ndarray:
    raise AssertionError("there is nothing to weigh")


def test_where_nothing_is_known_it_says_so() -> None:
    nothing = Asked(Case(conflict_type="hours_mismatch"), "manual", system_name(None))
    assert "Nothing that is known" in reasons([nothing], never)[0]


def test_an_unknown_system_keeps_its_name() -> None:
    assert system_name("acumatica") == "acumatica"
    assert system_name(None) == "the accounting system"
