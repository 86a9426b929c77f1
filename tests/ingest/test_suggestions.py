"""The nearest known writing is found within a budget, once for each text of each list."""

import pytest

from crewflow_assets.ingest.suggestions import Suggestions

CODES = ["50100", "61000", "ELEC-105"]


@pytest.mark.parametrize(("wanted", "near"), [("50101", "50100"), ("zzz", None), ("ELEC-15", "ELEC-105")])
def test_only_what_is_near_is_offered(wanted: str, near: str | None) -> None:
    assert Suggestions().nearest("cost code", wanted, CODES) == near


def test_small_letters_are_compared_first() -> None:
    assert Suggestions().nearest("account", "MATERIEL", ["MATERNITY", "material"]) == "material"


def test_a_text_is_looked_up_in_each_list_by_itself() -> None:
    suggest = Suggestions()
    assert suggest.nearest("cost code", "5010", ["5011"]) == "5011"
    assert suggest.nearest("account", "5010", ["50100"]) == "50100"
    assert suggest.nearest("cost code", "5010", ["50100"]) == "5011"


def test_beyond_the_budget_nothing_is_compared_and_what_was_found_is_kept() -> None:
    suggest = Suggestions(comparisons=4)
    assert suggest.nearest("cost code", "50101", CODES) == "50100"
    assert suggest.nearest("cost code", "61001", CODES) == "61000"
    assert suggest.nearest("cost code", "ELEC-15", iter(CODES)) is None
    assert suggest.nearest("cost code", "50101", []) == "50100"
