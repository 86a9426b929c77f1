"""New versions of a model: what makes a training repeatable, and how its result enters the registry.

A version is a folder of JSON or safetensors files, logged as a pyfunc model whose loader is
``crewflow_assets.batch`` (no pickle).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from crewflow_assets import registry
from crewflow_assets.registry import DATA_UNTIL, FINGERPRINT, LABEL, ROLE, VersionInfo
from crewflow_assets.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What makes a training repeatable."""

    role: str
    """``candidate``, or ``baseline: <name>``."""
    seed: int
    data_until: datetime
    feature_hash: str
    code_hash: str
    packages: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""

    @property
    def fingerprint(self) -> str:
        """Equal for trainings that must give the same model."""
        return f"{self.role}/{self.feature_hash}/{self.code_hash}/{self.seed}"


def register(spec: ModelSpec, folder: Path, record: TrainingRecord) -> VersionInfo:
    """Log a saved predictor and register it as the next version, or return the version that equals it.

    Args:
        spec: The model.
        folder: What ``Predictor.save`` wrote.
        record: How it was trained; a version with the same fingerprint is the same model.
    """
    import mlflow

    if (equal := equal_to(spec, record)) is not None:
        return equal
    mlflow.set_tracking_uri(registry.tracking_uri())  # MLflow's is global, and another installation may have set it
    label = _next_label(spec)
    with mlflow.start_run(experiment_id=_experiment(spec.name), run_name=f"{spec.name} {label}") as run:
        mlflow.log_params(
            {
                "seed": record.seed,
                "data_until": record.data_until.isoformat(),
                "feature_hash": record.feature_hash,
                "code_hash": record.code_hash,
                "dagster_run": record.run_id,
                **{f"package.{name}": version for name, version in record.packages.items()},
            }
        )
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module="crewflow_assets.batch",
            data_path=str(folder),
            pip_requirements=["crewflow-ml"],
            metadata={"model": spec.name},
        )
        created = mlflow.register_model(
            logged.model_uri,
            spec.name,
            tags={
                LABEL: label,
                ROLE: record.role,
                FINGERPRINT: record.fingerprint,
                DATA_UNTIL: record.data_until.isoformat(),
            },
        )
        mlflow.set_tags({LABEL: label, ROLE: record.role, "crewflow.run": run.info.run_id})
    return registry.info_of(registry.client().get_model_version(spec.name, created.version))


def equal_to(spec: ModelSpec, record: TrainingRecord) -> VersionInfo | None:
    """Return the version that a training would only repeat, if there is one."""
    return next((v for v in registry.describe(spec) if v.tags.get(FINGERPRINT) == record.fingerprint), None)


def _next_label(spec: ModelSpec) -> str:
    minors = [
        int(version.label.split(".")[1])
        for version in registry.describe(spec)
        if version.label.split(".")[0] == str(spec.contract_version)
    ]
    return f"{spec.contract_version}.{max(minors, default=-1) + 1}"


def _experiment(name: str) -> str:
    found = registry.client().get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(registry.client().create_experiment(name, artifact_location=f"{registry.artifact_root()}/{name}"))
