"""The registry on a real MLflow: what is in it, aliases, evaluations, and what cannot be read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy.exc import OperationalError

from crewflow_assets import registry
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.registry import CHALLENGER, CHAMPION
from crewflow_assets.spec import Evaluation, Figure
from tests.registering import UNTIL, new_version
from tests.worlds import predictor

SPEC = COST_CODE_MAPPING


def test_before_anything_is_registered_the_remedy_is_named(mlflow_home: Path) -> None:
    assert registry.describe(SPEC) == []
    assert registry.alias_numbers(SPEC) == {}
    with pytest.raises(
        NotReadyError, match="no cost_code_mapping is registered yet; run `crewflow demo`, or train it"
    ):
        registry.find(SPEC, "champion")
    with pytest.raises(NotReadyError):
        registry.load(SPEC, "1.0")


def test_a_registered_version_is_described_found_loaded_and_promoted(mlflow_home: Path) -> None:
    model = predictor(name_similarity=5.0, nearest=-0.1, threshold=0.93, person_stands=0.98)
    version = new_version(model=model)
    assert (version.label, version.number, version.aliases) == ("1.0", 1, ())
    assert version.data_until == UNTIL
    assert registry.describe(SPEC) == [version]
    assert registry.find(SPEC, "1.0") == version
    registry.promote(version, CHAMPION)
    assert registry.alias_numbers(SPEC) == {"champion": 1}
    loaded = registry.load(SPEC, "champion")
    assert (loaded.label, loaded.number, loaded.aliases) == ("1.0", 1, ("champion",))
    assert registry.run_of(SPEC, 1) == version.run_id != ""
    with pytest.raises(NotFoundError, match="has no version 2"):
        registry.run_of(SPEC, 2)
    assert isinstance(loaded.predictor, MappingPredictor)
    np.testing.assert_array_equal(loaded.predictor.weights, model.weights)
    assert (loaded.predictor.threshold, loaded.predictor.person_stands) == (0.93, 0.98)


def test_an_alias_moves_to_one_version_at_a_time(mlflow_home: Path) -> None:
    one, two = new_version("f1"), new_version("f2")
    registry.promote(one, CHAMPION)
    registry.promote(two, CHALLENGER)
    registry.promote(two, CHAMPION)
    assert registry.alias_numbers(SPEC) == {"champion": 2, "challenger": 2}
    assert registry.find(SPEC, "champion").aliases == ("challenger", "champion")
    assert registry.find(SPEC, "1.0").aliases == ()


def test_a_version_that_is_not_there_is_answered_with_those_that_are(mlflow_home: Path) -> None:
    registry.promote(new_version(), CHAMPION)
    with pytest.raises(NotFoundError, match=r"has no version '1\.7'; there are 1\.0, champion"):
        registry.find(SPEC, "1.7")
    with pytest.raises(NotFoundError, match="has no version 'challenger'"):
        registry.load(SPEC, "challenger")


def test_an_evaluation_is_kept_as_tags_metrics_plots_and_tables(mlflow_home: Path) -> None:
    version = new_version()
    figures = (
        Figure(name="top1", value=0.8, low=0.75, high=0.85, n=412, baseline="spelling", baseline_value=0.6),
        Figure(name="auto_map_right", value=None, n=0),
        Figure(name="one_company", value=1.0, low=float("nan"), high=float("nan"), n=9),
    )
    tables = {"worst_mistakes": pd.DataFrame({"code": ["É-1"]})}
    registry.log_evaluation(version, Evaluation(figures, {"reliability": b"\x89PNG..."}, tables))
    found = registry.find(SPEC, "1.0")
    assert found.figures["top1"] == "0.800 [0.750, 0.850] (spelling 0.600, n=412)"
    assert found.figures["auto_map_right"] == "none (n=0)"
    run = registry.client().get_run(found.run_id)
    assert run.data.metrics == {
        "top1": 0.8,
        "top1.low": 0.75,
        "top1.high": 0.85,
        "baseline.top1": 0.6,
        "one_company": 1.0,
    }
    artifacts = mlflow_home / "mlflow" / "artifacts"
    assert [file.read_bytes() for file in artifacts.rglob("reliability.png")] == [b"\x89PNG..."]
    assert [file.read_text() for file in artifacts.rglob("worst_mistakes.csv")] == ["code\nÉ-1\n"]


def test_a_tag_says_what_was_decided(mlflow_home: Path) -> None:
    registry.tag(new_version(), "crewflow.decision", "all gates met")
    assert registry.find(SPEC, "1.0").tags["crewflow.decision"] == "all gates met"


def test_what_others_registered_under_the_name_is_left_out(mlflow_home: Path) -> None:
    version = new_version()
    registry.client().create_model_version(SPEC.name, source=(mlflow_home / "x").as_uri())
    assert registry.describe(SPEC) == [version]
    assert new_version("f2").label == "1.1"


def test_a_registry_that_cannot_be_read_is_not_taken_for_an_empty_one(
    mlflow_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def broken(_name: str) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(registry.client(), "get_registered_model", broken)
    with pytest.raises(RegistryAwayError, match=r"cannot be read \(MlflowException\)"):
        registry.describe(SPEC)
    with pytest.raises(RegistryAwayError, match=r"cannot be read \(MlflowException\)"):
        registry.alias_numbers(SPEC)
    with pytest.raises(RegistryAwayError, match=r"cannot be read \(MlflowException\)"):
        registry.find(SPEC, "champion")


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (PermissionError("no"), True),
        (OperationalError("select", {}, ValueError("no such table")), True),
        (ModuleNotFoundError("no", name="mlflow.exceptions"), True),
        (ModuleNotFoundError("no", name="numpy"), False),
        (KeyError("a bug"), False),
    ],
)
def test_only_what_cannot_be_reached_is_away(
    mlflow_home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, away: bool
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(registry, "client", broken)
    with pytest.raises(RegistryAwayError if away else type(error)) as raised:
        registry.alias_numbers(SPEC)
    assert (raised.value.__cause__ is error) == away
