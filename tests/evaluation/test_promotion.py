"""Gates, and the comparison of a candidate with the champion."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.evaluation.promotion import check_gates, decide_promotion, gain
from crewflow_assets.spec import Evaluation, Figure, Gate

FIGURES = Evaluation(
    (
        Figure(name="top1", value=0.8, low=0.75, high=0.85, n=100, baseline="spelling", baseline_value=0.6),
        Figure(name="automatic_right", value=None, n=0),
    )
)


def scores(values: list[float], clusters: str) -> pd.DataFrame:
    return pd.DataFrame({"cluster": list(clusters), "score": values})


def test_each_gate_is_reported_with_what_was_measured() -> None:
    gates = (Gate("top1", "low", ">=", 0.75), Gate("top1", "high", "<=", 0.8), Gate("automatic_right", "low", ">", 0))
    results = check_gates(gates, FIGURES)
    assert [result.passed for result in results] == [True, False, False]
    assert results[0].as_row() == {
        "gate": "low of top1 >= 0.75",
        "measured": "0.800 [0.750, 0.850] (spelling 0.600, n=100)",
        "passed": True,
    }
    assert results[2].measured == "none (n=0)"


def test_a_gate_on_what_was_not_measured_is_a_mistake_of_the_spec() -> None:
    with pytest.raises(KeyError, match="no figure 'top9'; there are top1, automatic_right"):
        check_gates((Gate("top9", "value", ">", 0),), FIGURES)


def test_the_gain_is_the_mean_difference_of_the_rows() -> None:
    rng = np.random.default_rng(5)
    clusters = "".join(chr(ord("A") + i) for i in rng.integers(0, 26, 5000))
    before = (rng.random(5000) < 0.6).astype(float)
    after = np.where(rng.random(5000) < 0.2, 1.0, before)  # repairs a fifth of the wrong 40 %
    found = gain(scores(after.tolist(), clusters), scores(before.tolist(), clusters))
    assert found.value == pytest.approx(0.08, abs=0.012)
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < 0.04  # paired: unpaired differences would scatter more than twice as far


def test_equal_models_gain_exactly_nothing() -> None:
    same = scores([1.0, 0.0, 1.0, 1.0], "aabb")
    found = gain(same, same)
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize("clusters", ["aab", "aaba", "aabbb"])
def test_models_scored_on_different_rows_are_not_compared(clusters: str) -> None:
    with pytest.raises(ValueError, match="different rows"):
        gain(scores([1.0, 0.0, 1.0, 1.0], "aabb"), scores([1.0] * len(clusters), clusters))


SPEC = COST_CODE_MAPPING
NOT_USABLE = "all gates met, and the champion cannot be used any more"


def outcome(failed: tuple[str, ...] = (), **compared: Any) -> dict[str, Any]:
    return {"failed": list(failed), "compared": compared or None, "outdated": None}


@pytest.mark.parametrize(
    ("evaluation", "present", "alias", "reason"),
    [
        (outcome(), None, "champion", "all gates met, and there was no champion"),
        (outcome(("ece <= 0.05",)), None, None, "gates not met: ece <= 0.05"),
        (outcome(("ece <= 0.05", "top1 > 2")), 1, "challenger", "gates not met: ece <= 0.05, top1 > 2"),
        (outcome(("ece <= 0.05",), champion="1.0", gain=0.3, low=0.2), 1, "challenger", "gates not met: ece <= 0.05"),
        (
            outcome(champion="1.0", gain=0.02, low=0.005),
            1,
            "champion",
            "all gates met; gain over 1.0 +0.0200, lower 95 % bound +0.0050 is above −0.01",
        ),
        (
            outcome(champion="1.0", gain=0.0, low=-0.0099),
            1,
            "champion",
            "all gates met; gain over 1.0 +0.0000, lower 95 % bound -0.0099 is above −0.01",
        ),
        (
            outcome(champion="1.0", gain=0.0, low=-0.01),
            1,
            "challenger",
            "gain over 1.0 +0.0000, lower 95 % bound -0.0100 is not above −0.01",
        ),
        (
            outcome(champion="1.0", gain=0.1, low=float("nan")),
            1,
            "challenger",
            "gain over 1.0 +0.1000, lower 95 % bound +nan is not above −0.01",
        ),
        (outcome(("ece <= 0.05",)), 2, "champion", "it is the champion already"),
        (outcome() | {"outdated": "train"}, 1, "champion", f"{NOT_USABLE}: train"),
        (outcome(("ece <= 0.05",)) | {"outdated": "train"}, 1, None, "gates not met: ece <= 0.05"),
    ],
)
def test_the_decision_follows_from_gates_and_gain(
    evaluation: dict[str, Any], present: int | None, alias: str | None, reason: str
) -> None:
    assert decide_promotion(SPEC, evaluation | {"present": present}, number=2) == (alias, reason)
