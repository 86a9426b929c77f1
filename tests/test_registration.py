"""New versions on a real MLflow: one for each training, labels that count up, and no pickle anywhere."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewflow_assets import registry
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.spec import Evaluation, Figure
from tests.registering import UNTIL, new_version

PICKLE = (b"\x80\x03", b"\x80\x04", b"\x80\x05")


def test_the_same_training_is_the_same_version(mlflow_home: Path) -> None:
    first = new_version()
    again = new_version(data_until=UNTIL.replace(year=2027), run_id="dagster-2", packages={})
    assert again == first
    assert len(registry.describe(COST_CODE_MAPPING)) == 1


@pytest.mark.parametrize(
    "changes", [{"features": "f2"}, {"seed": 8}, {"code_hash": "c2"}, {"role": "baseline: spelling"}]
)
def test_another_training_is_the_next_version(mlflow_home: Path, changes: dict[str, Any]) -> None:
    new_version()
    other = new_version(**changes)
    assert (other.label, other.number) == ("1.1", 2)
    assert [version.label for version in registry.describe(COST_CODE_MAPPING)] == ["1.1", "1.0"]  # newest first


def test_labels_count_up_and_begin_anew_with_another_contract(mlflow_home: Path) -> None:
    assert [new_version(f"f{i}").label for i in range(3)] == ["1.0", "1.1", "1.2"]
    second = dataclasses.replace(COST_CODE_MAPPING, contract_version=2)
    assert [new_version(f"g{i}", spec=second).label for i in range(2)] == ["2.0", "2.1"]
    assert registry.find(COST_CODE_MAPPING, "1.2").number == 3


def test_what_makes_a_training_repeatable_is_recorded(mlflow_home: Path) -> None:
    version = new_version(run_id="dagster-1", packages={"numpy": "2.4"})
    parameters = registry.client().get_run(version.run_id).data.params
    assert parameters == {
        "seed": "7",
        "data_until": UNTIL.isoformat(),
        "feature_hash": "f1",
        "code_hash": "c",
        "dagster_run": "dagster-1",
        "package.numpy": "2.4",
    }


def files_of(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def test_there_is_no_pickle_anywhere_in_the_registry(mlflow_home: Path) -> None:
    version = new_version()
    registry.log_evaluation(version, Evaluation((Figure(name="top1", value=0.8, n=1),), {"p": b"\x89PNG"}))
    files = list(files_of(mlflow_home / "mlflow"))
    assert any(file.name == "mapping.json" for file in files)
    for file in files:
        assert file.suffix not in {".pkl", ".pickle", ".joblib", ".cloudpickle"}, file
        assert not file.read_bytes().startswith(PICKLE), file


def test_versions_are_logged_where_the_settings_say_even_after_another_home_was_used(
    mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import mlflow

    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mlflow.db"
    registry.client()
    mlflow.set_tracking_uri(f"sqlite:///{elsewhere}")
    version = new_version()
    assert registry.client().get_run(version.run_id).info.artifact_uri.startswith((mlflow_home / "mlflow").as_uri())
    assert not elsewhere.exists()
