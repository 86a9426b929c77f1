"""Folds are for ever: a change here would test models on what their predecessors were trained on."""

from collections import Counter

import pytest

from crewflow_assets.evaluation.splits import fold_of, uniform


def test_the_fold_of_a_company_never_changes() -> None:
    first = [f"c-{i}" for i in range(1, 60)]
    tested = ["c-3", "c-18", "c-19", "c-27", "c-31", "c-41", "c-48", "c-53", "c-57"]
    assert [company for company in first if fold_of(company) == "test"] == tested
    assert fold_of("Müller Bau GmbH") == "test"


def test_three_quarters_train_and_a_quarter_tests() -> None:
    counts = Counter(fold_of(f"company-{i}") for i in range(20_000))
    assert set(counts) == {"train", "test"}
    assert counts["train"] / 20_000 == pytest.approx(0.75, abs=0.01)  # three standard errors
    assert counts["test"] / 20_000 == pytest.approx(0.25, abs=0.01)


def test_uniform_is_even_and_depends_on_the_parts_of_its_key() -> None:
    draws = [uniform("draw", str(i)) for i in range(10_000)]
    assert min(draws) >= 0
    assert max(draws) < 1
    for share in (0.05, 0.5, 0.9):
        assert sum(draw < share for draw in draws) / 10_000 == pytest.approx(share, abs=0.015)
    assert uniform("ab", "c") != uniform("a", "bc")
    assert uniform("withheld", "c-1") == pytest.approx(0.78440, abs=0.00001)
