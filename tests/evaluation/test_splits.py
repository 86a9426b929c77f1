"""Folds are for ever: a change here would test models on what their predecessors were trained on."""

from collections import Counter

import pytest

from crewflow_assets.evaluation.splits import fold_of, uniform


def test_the_fold_of_a_company_never_changes() -> None:
    folds = [fold_of(f"c-{i}") for i in range(1, 11)]
    assert [fold[0] for fold in folds] == list("cctcctctcc")
    assert fold_of("Müller Bau GmbH") == "test"


def test_half_train_a_quarter_calibrate_and_a_quarter_test() -> None:
    counts = Counter(fold_of(f"company-{i}") for i in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.5, abs=0.011)  # three standard errors
    assert counts["calibration"] / 20_000 == pytest.approx(0.25, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.25, abs=0.01)


def test_uniform_is_even_and_depends_on_the_parts_of_its_key() -> None:
    draws = [uniform("draw", str(i)) for i in range(10_000)]
    assert min(draws) >= 0
    assert max(draws) < 1
    for share in (0.05, 0.5, 0.9):
        assert sum(draw < share for draw in draws) / 10_000 == pytest.approx(share, abs=0.015)
    assert uniform("ab", "c") != uniform("a", "bc")
    assert uniform("withheld", "c-1") == pytest.approx(0.78440, abs=0.00001)
