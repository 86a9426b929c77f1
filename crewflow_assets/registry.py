"""The model registry: what MLflow holds. With ``registration``, which adds versions, the only importer of MLflow.

Labels such as "1.3" are tags; ``champion`` and ``challenger`` are aliases.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
    versions = client().search_model_versions(f"name = '{spec.name}'")
    infos = [info_of(version, aliases) for version in versions if LABEL in version.tags]
    return sorted(infos, key=lambda info: info.number, reverse=True)


@_reaching()
def run_of(spec: ModelSpec, number: int) -> str:
    """Return the run that made a version; cheap enough to poll.

    Raises:
        NotFoundError: there is no such version.
        RegistryAwayError: the registry cannot be read.
    """
    from mlflow.exceptions import MlflowException

    try:
        version = client().get_model_version(spec.name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise NotFoundError(f"{spec.name} has no version {number}") from error
    return _run_id(version)


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


def info_of(version: "ModelVersion", aliases: Mapping[str, int] | None = None) -> VersionInfo:
    """Return what is known of a version; ``aliases`` gives the number that each one names."""
    number = int(version.version)
    named = tuple(sorted(name for name, at in (aliases or {}).items() if at == number))
    return VersionInfo(
        model=version.name,
        number=number,
        label=version.tags[LABEL],
        aliases=named,
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        tags=dict(version.tags),
        run_id=_run_id(version),
    )


def _run_id(version: "ModelVersion") -> str:
    return version.run_id or version.tags.get("crewflow.run", "")


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
