"""Figures, gates and the list of models."""

import re

import pytest

from crewflow_assets.errors import NotFoundError
from crewflow_assets.models import MODEL_SPECS, spec_named
from crewflow_assets.spec import Evaluation, Figure, Gate, ModelSpec

MEASURED = Figure(name="top1", value=0.8, low=0.75, high=0.85, n=412)


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (Gate("top1", "value", ">=", 0.8), True),
        (Gate("top1", "value", ">", 0.8), False),
        (Gate("top1", "value", "<=", 0.8), True),
        (Gate("top1", "low", ">=", 0.76), False),
        (Gate("top1", "high", "<=", 0.84), False),
        (Gate("top1", "low", ">", 0.74), True),
    ],
)
def test_a_gate_compares_its_bound_with_its_limit(gate: Gate, passed: bool) -> None:
    assert gate.passes(MEASURED) is passed


def test_what_was_not_measured_meets_no_gate_unless_that_is_said() -> None:
    nothing, no_interval = Figure(name="top1", value=None, n=0), Figure(name="top1", value=0.8, n=9)
    assert not Gate("top1", "value", "<=", 9).passes(nothing)
    assert Gate("top1", "value", ">=", 9, or_none=True).passes(nothing)
    assert not Gate("top1", "low", ">=", 0.1).passes(no_interval)


def test_an_interval_that_could_not_be_computed_meets_no_gate() -> None:
    one_company = Figure(name="top1", value=1.0, low=float("nan"), high=float("nan"), n=40)
    assert not Gate("top1", "low", ">=", 0.0).passes(one_company)
    assert not Gate("top1", "low", ">=", 0.0, or_none=True).passes(one_company)


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (MEASURED, "0.800 [0.750, 0.850] (n=412)"),
        (Figure(name="x", value=0.5, n=3, baseline="spelling", baseline_value=0.25), "0.500 (spelling 0.250, n=3)"),
        (Figure(name="x", value=None, n=0), "none (n=0)"),
    ],
)
def test_figures_are_printed_with_interval_and_baseline(figure: Figure, text: str) -> None:
    assert str(figure) == text


def test_gates_are_printed_as_they_are_read() -> None:
    assert str(Gate("top1_gain", "low", ">", 0.0)) == "low of top1_gain > 0"
    assert str(Gate("ece", "value", "<=", 0.05)) == "ece <= 0.05"


def test_a_figure_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="no figure 'ece'; there are top1"):
        Evaluation((MEASURED,)).figure("ece")


def test_a_model_is_found_by_name() -> None:
    assert spec_named("cost_code_mapping") is MODEL_SPECS[0]
    with pytest.raises(NotFoundError, match=re.escape("no model 'cost_codes'; there are cost_code_mapping")):
        spec_named("cost_codes")


@pytest.mark.parametrize("spec", MODEL_SPECS, ids=lambda spec: spec.name)
def test_the_example_of_each_model_is_a_valid_request(spec: ModelSpec) -> None:
    spec.request_type.model_validate(dict(spec.example))


def test_the_names_of_models_are_unique_and_fit_into_urls_and_tables() -> None:
    names = [spec.name for spec in MODEL_SPECS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z_]*", name) for name in names)


def test_cost_code_mapping_is_what_the_requirements_ask_for() -> None:
    spec = spec_named("cost_code_mapping")
    assert spec.retrain_cron == "0 3 * * 0"  # weekly
    assert [(t.reason, t.more_than, t.window_days) for t in spec.triggers] == [("corrections", 20, 30)]
    assert set(spec.headline) <= {"top1", "top5", "ece", "auto_map_coverage", "auto_map_right"}
    assert [str(gate) for gate in spec.gates] == [
        "low of top1_gain > 0",
        "ece <= 0.08",
        "low of auto_map_right >= 0.93",
    ]
