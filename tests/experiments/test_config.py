"""What an experiment may be asked for with: every wrong field is named at once, with what there is."""

from typing import Any

import pytest
from pydantic import ValidationError

from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import InvalidInputError, NotFoundError
from crewflow_assets.experiments.config import check
from crewflow_assets.experiments.metrics import METRICS, metric_named, metrics_of
from crewflow_assets.models import MODEL_SPECS
from tests.experiments.trial import VERSIONS, config


def arms(**percents: tuple[str, float]) -> dict[str, Any]:
    return {name: {"model_version": version, "percentage": share} for name, (version, share) in percents.items()}


def test_the_prds_example_is_taken() -> None:
    check(config(), COST_CODE_MAPPING, VERSIONS, "1.0")


def test_equal_versions_are_an_a_a_test() -> None:
    check(config(variants=arms(control=("1.0", 50), treatment=("1.0", 50))), COST_CODE_MAPPING, VERSIONS, "1.0")


@pytest.mark.parametrize(
    ("changes", "loc", "said"),
    [
        ({"variants": arms(control=("1.0", 50), treatment=("1.1", 49))}, ("variants",), "sum 99; make it 100"),
        ({"variants": arms(a=("1.0", 50), b=("1.1", 50))}, ("variants",), "none of 'a', 'b' is 'control'"),
        (
            {"variants": arms(control=("1.0", 50), champion=("1.1", 50))},
            ("variants", "champion"),
            "choose another name",
        ),
        (
            {"variants": arms(control=("1.0", 50), treatment=("1.9", 50))},
            ("variants", "treatment", "model_version"),
            "no version '1.9'; there are 1.0, 1.1, 1.2",
        ),
        (
            {"metrics": ["mapping_accuracy", "clicks"]},
            ("metrics", 1),
            "there are mapping_accuracy, user_acceptance_rate",
        ),
        ({"metrics": ["setup_time", "setup_time"]}, ("metrics",), "named twice"),
    ],
)
def test_what_the_fields_alone_do_not_tell(changes: dict[str, Any], loc: tuple[Any, ...], said: str) -> None:
    with pytest.raises(InvalidInputError, match="the experiment was not started") as caught:
        check(config(**changes), COST_CODE_MAPPING, VERSIONS, "1.0")
    [problem] = caught.value.problems
    assert problem.loc == loc
    assert said in problem.msg


def test_another_contract_is_refused_and_every_problem_listed() -> None:
    asked = config(variants=arms(control=("1.0", 50), treatment=("2.0", 40)), metrics=["clicks"])
    with pytest.raises(InvalidInputError) as caught:
        check(asked, COST_CODE_MAPPING, (*VERSIONS, "2.0"), "1.0")
    assert [problem.loc[0] for problem in caught.value.problems] == ["variants", "variants", "metrics"]
    assert "another contract than 1.x" in str(caught.value)


@pytest.mark.parametrize(
    ("champion", "said"),
    [
        ("1.2", r"no arm is 1\.2, the champion of cost_code_mapping.*model rollback cost_code_mapping --to VERSION"),
        (None, r"has no champion that a winner could replace; train it first \(cost_code_mapping_training\)"),
    ],
)
def test_without_the_champion_among_the_arms_no_winner_could_be_approved(champion: str | None, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        check(config(), COST_CODE_MAPPING, VERSIONS, champion)
    assert [problem.loc for problem in caught.value.problems] == [("variants",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "no spaces"},
        {"name": ""},
        {"variants": arms(control=("1.0", 99))},
        {"variants": arms(control=("champion", 50), treatment=("1.1", 50))},
        {"variants": arms(control=("1.0", 100), treatment=("1.1", 0))},
        {"metrics": []},
        {"duration_days": 0},
        {"duration_days": 1000},
        {"winner": "treatment"},
    ],
)
def test_wrong_fields(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


def test_every_model_has_metrics_of_its_own_names() -> None:
    assert set(METRICS) >= {spec.name for spec in MODEL_SPECS if spec.monitored is not None}
    for spec in MODEL_SPECS:
        names = [metric.name for metric in metrics_of(spec)]
        assert len(names) == len(set(names))
    with pytest.raises(NotFoundError, match="there are mapping_accuracy"):
        metric_named(COST_CODE_MAPPING, "clicks")
