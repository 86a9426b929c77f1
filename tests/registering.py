"""Versions of the mapping model in a registry, for tests that need nothing but their numbers and labels."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.registration import TrainingRecord
from crewflow_assets.registry import VersionInfo
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec
from crewflow_assets.training.steps import register
from tests.worlds import predictor, start_registry

UNTIL = datetime(2026, 2, 1, tzinfo=UTC)


def record(features: str = "f1", **changes: Any) -> TrainingRecord:
    """Return the record of a training on a feature table of that hash."""
    known: dict[str, Any] = {
        "role": "candidate",
        "seed": 7,
        "data_until": UNTIL,
        "feature_hash": features,
        "code_hash": "c",
    }
    return TrainingRecord(**(known | changes))


def new_version(
    features: str = "f1",
    *,
    spec: ModelSpec = COST_CODE_MAPPING,
    model: MappingPredictor | None = None,
    **changes: Any,
) -> VersionInfo:
    """Register a small mapping model as trained on a feature table of that hash."""
    return register(spec, model or predictor(), record(features, **changes))


@cache
def _three_versions() -> bytes:
    """Return the registry's database with 1.0, 1.1 and 1.2, of which none has an alias; made in the present home."""
    start_registry()
    for number in range(3):
        new_version(f"f{number}")
    return (get_settings().root / "mlflow" / "mlflow.db").read_bytes()


def give_three_versions() -> None:
    """Give the present home a registry with 1.0, 1.1 and 1.2, of which none has an alias."""
    folder = get_settings().root / "mlflow"
    folder.mkdir(exist_ok=True)
    (folder / "mlflow.db").write_bytes(_three_versions())
