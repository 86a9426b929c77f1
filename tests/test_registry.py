"""The registry on a real MLflow: labels, fingerprints, aliases, evaluations, and no pickle anywhere."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy.exc import OperationalError

from crewflow_assets import registry
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.registry import CHALLENGER, CHAMPION, TrainingRecord, VersionInfo
from crewflow_assets.spec import Evaluation, Figure
from tests.worlds import predictor, start_registry

UNTIL = datetime(2026, 3, 2, 14, 0, 0, 123456, tzinfo=UTC)
SPEC = COST_CODE_MAPPING
PICKLE = (b"\x80\x03", b"\x80\x04", b"\x80\x05")


@pytest.fixture
def mlflow_home(home: Path) -> Path:
    start_registry()
    return home


def record(features: str = "f1", **changes: object) -> TrainingRecord:
    base = TrainingRecord(
        role="candidate",
        seed=7,
        data_until=UNTIL,
        feature_hash=features,
        code_hash="c1",
        packages={"numpy": "2.4"},
        run_id="dagster-1",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def register(
    folder: Path, features: str = "f1", model: MappingPredictor | None = None, **changes: object
) -> VersionInfo:
    saved = folder / f"saved-{features}"
    saved.mkdir(exist_ok=True)
    (model or predictor(name_similarity=5.0)).save(saved)
    (saved / MODEL_NAME).write_text(SPEC.name)
    return registry.register(SPEC, saved, record(features, **changes))


def test_before_anything_is_registered_the_remedy_is_named(mlflow_home: Path) -> None:
    assert registry.describe(SPEC) == []
    assert registry.alias_numbers(SPEC) == {}
    with pytest.raises(
        NotReadyError, match="no cost_code_mapping is registered yet; run `crewflow demo`, or train it"
    ):
        registry.find(SPEC, "champion")
    with pytest.raises(NotReadyError):
        registry.load(SPEC, "1.0")


def test_a_registered_version_is_described_found_loaded_and_promoted(mlflow_home: Path, tmp_path: Path) -> None:
    model = predictor(name_similarity=5.0, nearest=-0.1, threshold=0.93, person_stands=0.98)
    version = register(tmp_path, model=model)
    assert (version.label, version.number, version.aliases) == ("1.0", 1, ())
    assert version.data_until == UNTIL
    assert registry.describe(SPEC) == [version]
    assert registry.find(SPEC, "1.0") == version
    registry.promote(version, CHAMPION)
    assert registry.alias_numbers(SPEC) == {"champion": 1}
    loaded = registry.load(SPEC, "champion")
    assert (loaded.label, loaded.number, loaded.aliases) == ("1.0", 1, ("champion",))
    assert isinstance(loaded.predictor, MappingPredictor)
    np.testing.assert_array_equal(loaded.predictor.weights, model.weights)
    assert (loaded.predictor.threshold, loaded.predictor.person_stands) == (0.93, 0.98)


def test_the_same_training_is_the_same_version(mlflow_home: Path, tmp_path: Path) -> None:
    first = register(tmp_path)
    again = register(tmp_path, data_until=UNTIL.replace(year=2027), run_id="dagster-2", packages={})
    assert again == first
    assert len(registry.describe(SPEC)) == 1


@pytest.mark.parametrize(
    "changes", [{"features": "f2"}, {"seed": 8}, {"code_hash": "c2"}, {"role": "baseline: spelling"}]
)
def test_another_training_is_the_next_version(mlflow_home: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    register(tmp_path)
    other = register(tmp_path, **changes)  # type: ignore[arg-type]
    assert (other.label, other.number) == ("1.1", 2)
    assert [version.label for version in registry.describe(SPEC)] == ["1.1", "1.0"]  # newest first


def test_labels_count_up_and_begin_anew_with_another_contract(
    mlflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [register(tmp_path, f"f{i}").label for i in range(3)] == ["1.0", "1.1", "1.2"]
    monkeypatch.setitem(globals(), "SPEC", dataclasses.replace(COST_CODE_MAPPING, contract_version=2))
    assert [register(tmp_path, f"g{i}").label for i in range(2)] == ["2.0", "2.1"]
    assert registry.find(COST_CODE_MAPPING, "1.2").number == 3


def test_an_alias_moves_to_one_version_at_a_time(mlflow_home: Path, tmp_path: Path) -> None:
    one, two = register(tmp_path, "f1"), register(tmp_path, "f2")
    registry.promote(one, CHAMPION)
    registry.promote(two, CHALLENGER)
    registry.promote(two, CHAMPION)
    assert registry.alias_numbers(SPEC) == {"champion": 2, "challenger": 2}
    assert registry.find(SPEC, "champion").aliases == ("challenger", "champion")
    assert registry.find(SPEC, "1.0").aliases == ()


def test_a_version_that_is_not_there_is_answered_with_those_that_are(mlflow_home: Path, tmp_path: Path) -> None:
    registry.promote(register(tmp_path), CHAMPION)
    with pytest.raises(NotFoundError, match=r"has no version '1\.7'; there are 1\.0, champion"):
        registry.find(SPEC, "1.7")
    with pytest.raises(NotFoundError, match="has no version 'challenger'"):
        registry.load(SPEC, "challenger")


def test_an_evaluation_is_kept_as_tags_metrics_plots_and_tables(mlflow_home: Path, tmp_path: Path) -> None:
    version = register(tmp_path)
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


def test_what_makes_a_training_repeatable_is_recorded(mlflow_home: Path, tmp_path: Path) -> None:
    version = register(tmp_path)
    parameters = registry.client().get_run(version.run_id).data.params
    assert parameters == {
        "seed": "7",
        "data_until": UNTIL.isoformat(),
        "feature_hash": "f1",
        "code_hash": "c1",
        "dagster_run": "dagster-1",
        "package.numpy": "2.4",
    }


def test_a_tag_says_what_was_decided(mlflow_home: Path, tmp_path: Path) -> None:
    registry.tag(register(tmp_path), "crewflow.decision", "all gates met")
    assert registry.find(SPEC, "1.0").tags["crewflow.decision"] == "all gates met"


def files_of(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def test_there_is_no_pickle_anywhere_in_the_registry(mlflow_home: Path, tmp_path: Path) -> None:
    version = register(tmp_path)
    registry.log_evaluation(version, Evaluation((Figure(name="top1", value=0.8, n=1),), {"p": b"\x89PNG"}))
    files = list(files_of(mlflow_home / "mlflow"))
    assert any(file.name == "mapping.json" for file in files)
    for file in files:
        assert file.suffix not in {".pkl", ".pickle", ".joblib", ".cloudpickle"}, file
        assert not file.read_bytes().startswith(PICKLE), file


def test_what_others_registered_under_the_name_is_left_out(mlflow_home: Path, tmp_path: Path) -> None:
    version = register(tmp_path)
    registry.client().create_model_version(SPEC.name, source=(tmp_path / "x").as_uri())
    assert registry.describe(SPEC) == [version]
    assert register(tmp_path, "f2").label == "1.1"


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


def test_versions_are_logged_where_the_settings_say_even_after_another_home_was_used(
    mlflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    registry.client()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    version = register(tmp_path)
    assert registry.client().get_run(version.run_id).info.artifact_uri.startswith((mlflow_home / "mlflow").as_uri())
    assert not (tmp_path / "elsewhere.db").exists()
