"""The model registry: MLflow, and the only importer of it.

A version is a folder of JSON or safetensors files, logged as a pyfunc model whose loader is
``crewflow_assets.batch`` (no pickle). Labels such as "1.3" are tags; ``champion`` and ``challenger`` are aliases.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from crewflow_assets.errors import NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Evaluation, ModelSpec, Predictor

if TYPE_CHECKING:  # seconds to import
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
LABEL, ROLE, FINGERPRINT, DATA_UNTIL = (
    "crewflow.label",
    "crewflow.role",
    "crewflow.fingerprint",
    "crewflow.data_until",
)
FIGURE = "figure."
DECISION = "crewflow.decision"


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A registered version, without loading it."""

    model: str
    number: int
    label: str
    aliases: tuple[str, ...]
    created_at: datetime
    tags: Mapping[str, str]
    run_id: str

    @property
    def figures(self) -> dict[str, str]:
        """Its figures as text, each with interval and baseline."""
        return {name.removeprefix(FIGURE): text for name, text in self.tags.items() if name.startswith(FIGURE)}

    @property
    def data_until(self) -> datetime:
        """The moment before which all its training data happened."""
        return datetime.fromisoformat(self.tags[DATA_UNTIL])


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version ready to predict."""

    predictor: Predictor
    label: str
    number: int
    aliases: tuple[str, ...]


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


def tracking_uri() -> str:
    """Return MLflow's database: an absolute SQLite path under the home folder."""
    folder = get_settings().root / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def artifact_root() -> str:
    """Return where MLflow keeps files."""
    return (get_settings().root / "mlflow" / "artifacts").as_uri()


@lru_cache(maxsize=4)
def _client(uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def client() -> "MlflowClient":
    """Return the client of the configured registry."""
    return _client(tracking_uri())


def _experiment(name: str) -> str:
    found = client().get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client().create_experiment(name, artifact_location=f"{artifact_root()}/{name}"))


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
    mlflow.set_tracking_uri(tracking_uri())  # MLflow's is global, and another installation may have set it
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
    return _info(client().get_model_version(spec.name, created.version))


def equal_to(spec: ModelSpec, record: TrainingRecord) -> VersionInfo | None:
    """Return the version that a training would only repeat, if there is one."""
    return next((v for v in describe(spec) if v.tags.get(FINGERPRINT) == record.fingerprint), None)


def _next_label(spec: ModelSpec) -> str:
    minors = [
        int(version.label.split(".")[1])
        for version in describe(spec)
        if version.label.split(".")[0] == str(spec.contract_version)
    ]
    return f"{spec.contract_version}.{max(minors, default=-1) + 1}"


def log_evaluation(version: VersionInfo, evaluation: Evaluation) -> None:
    """Keep an evaluation with its version: figures as metrics, tags and text, plots and tables as artifacts."""
    mlflow_client = client()
    lines = [f"**{version.label}** ({version.tags[ROLE]})", *(f"- {f.name}: {f}" for f in evaluation.figures)]
    mlflow_client.update_model_version(version.model, str(version.number), description="\n".join(lines))
    for figure in evaluation.figures:
        mlflow_client.set_model_version_tag(version.model, str(version.number), FIGURE + figure.name, str(figure))
        for suffix, value in (("", figure.value), (".low", figure.low), (".high", figure.high)):
            if value is not None and value == value:
                mlflow_client.log_metric(version.run_id, figure.name + suffix, value)
        if figure.baseline_value is not None:
            mlflow_client.log_metric(version.run_id, f"baseline.{figure.name}", figure.baseline_value)
    for name, png in evaluation.plots.items():
        _log_bytes(version, f"plots/{name}.png", png)
    for name, table in evaluation.tables.items():
        _log_bytes(version, f"tables/{name}.csv", table.to_csv(index=False).encode())


def _log_bytes(version: VersionInfo, path: str, content: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        file.write_bytes(content)
        client().log_artifact(version.run_id, str(file), str(Path(path).parent))


def logged_table(version: VersionInfo, name: str) -> "pd.DataFrame | None":
    """Return a table of a version's evaluation, or None where it has none of that name."""
    import mlflow
    import pandas as pd

    path = f"tables/{name}.csv"
    if path not in {file.path for file in client().list_artifacts(version.run_id, "tables")}:
        return None
    found = mlflow.artifacts.download_artifacts(
        run_id=version.run_id, artifact_path=path, tracking_uri=tracking_uri()
    )
    return pd.read_csv(found)


def parameters(version: VersionInfo) -> dict[str, str]:
    """Return how a version was trained: seed, data, hashes, packages."""
    return dict(client().get_run(version.run_id).data.params)


def tag(version: VersionInfo, name: str, value: str) -> None:
    """Set a tag of a version."""
    client().set_model_version_tag(version.model, str(version.number), name, value)


def promote(version: VersionInfo, alias: str) -> None:
    """Point an alias at a version; ``crewflow_assets.promotion`` alone decides and records that."""
    client().set_registered_model_alias(version.model, alias, str(version.number))


def take_away(spec: ModelSpec, alias: str) -> bool:
    """Let an alias point at nothing; harmless where it does. False where the model is not registered."""
    if _aliases(spec) is None:
        return False
    client().delete_registered_model_alias(spec.name, alias)
    return True


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn what MLflow, its database and its files raise when they cannot be reached into one error."""
    try:
        yield
    except (OSError, SQLAlchemyError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise RegistryAwayError(f"the model registry cannot be read ({type(error).__name__})") from error
    except Exception as error:
        exceptions = sys.modules.get("mlflow.exceptions")
        if exceptions is None or not isinstance(error, exceptions.MlflowException):
            raise
        raise RegistryAwayError(f"the model registry cannot be read ({type(error).__name__})") from error


@_reaching()
def describe(spec: ModelSpec) -> list[VersionInfo]:
    """Return all versions, newest first; none if nothing was registered. What others put there is left out.

    Raises:
        RegistryAwayError: the registry cannot be read.
    """
    aliases = _aliases(spec)
    if aliases is None:
        return []
    versions = client().search_model_versions(f"name = '{spec.name}'", max_results=1000)
    infos = [_info(version, aliases) for version in versions if LABEL in version.tags]
    return sorted(infos, key=lambda info: info.number, reverse=True)


@_reaching()
def alias_numbers(spec: ModelSpec) -> dict[str, int]:
    """Return which version number each alias names; cheap enough to poll.

    Raises:
        RegistryAwayError: the registry cannot be read.
    """
    return _aliases(spec) or {}


def _aliases(spec: ModelSpec) -> dict[str, int] | None:
    """Return the aliases, or None where the model was never registered."""
    from mlflow.exceptions import MlflowException

    try:
        model = client().get_registered_model(spec.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return {name: int(number) for name, number in model.aliases.items()}


def _info(version: "ModelVersion", aliases: Mapping[str, int] | None = None) -> VersionInfo:
    number = int(version.version)
    named = tuple(sorted(name for name, at in (aliases or {}).items() if at == number))
    return VersionInfo(
        model=version.name,
        number=number,
        label=version.tags[LABEL],
        aliases=named,
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        tags=dict(version.tags),
        run_id=version.run_id or version.tags.get("crewflow.run", ""),
    )


def find(spec: ModelSpec, version: str) -> VersionInfo:
    """Return the version of an alias or label.

    Raises:
        NotReadyError: the model has no version at all.
        NotFoundError: the model has other versions.
    """
    versions = describe(spec)
    if not versions:
        raise NotReadyError(f"no {spec.name} is registered yet; run `crewflow demo`, or train it in Dagster")
    for info in versions:
        if version == info.label or version in info.aliases:
            return info
    known = ", ".join(sorted({name for info in versions for name in (info.label, *info.aliases)}))
    raise NotFoundError(f"{spec.name} has no version {version!r}; there are {known}")


def load(spec: ModelSpec, version: str) -> LoadedModel:
    """Load a version by alias or label.

    Raises:
        NotReadyError: the model has no version at all.
        NotFoundError: the model has other versions.
    """
    info = find(spec, version)
    return LoadedModel(spec.code().load(folder_of(info)), info.label, info.number, info.aliases)


@_reaching()
def folder_of(info: VersionInfo) -> Path:
    """Return the local folder that holds what ``Predictor.save`` wrote.

    Raises:
        RegistryAwayError: the registry, or its files, cannot be read.
    """
    import mlflow

    model: Any = mlflow.artifacts.download_artifacts(
        f"models:/{info.model}/{info.number}", tracking_uri=tracking_uri()
    )
    data = Path(model) / "data"
    inside = [path for path in data.iterdir() if path.is_dir()]
    return inside[0] if len(inside) == 1 and not any(path.is_file() for path in data.iterdir()) else data
