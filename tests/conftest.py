"""Fixtures that all tests share: an isolated home folder, a fresh database on SQLite and on PostgreSQL."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from benchmarks.postgres import NoPostgresError, PostgresServer
from crewflow_assets.settings import Settings, get_settings
from crewflow_assets.store import schema
from crewflow_assets.store.database import engine_for

ENCODER_CACHE = Path(tempfile.gettempdir()) / "crewflow-test-encoder"  # exporting takes seconds

os.environ.update(
    {
        "CREWFLOW_ENCODER_CACHE": str(ENCODER_CACHE),  # for what is encoded outside a home, and by other processes
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # torch waits by spinning: with two test processes on two cores, ten times as long
    }
)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server with a migrated database to copy, one a process of the run; skips where none is installed."""
    try:
        server = PostgresServer()
    except NoPostgresError as error:
        pytest.skip(str(error))
    with server:
        server.execute(f"CREATE DATABASE {server.template}")
        target = engine_for(server.url(server.template))
        schema.upgrade(target)
        target.dispose()
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "crewflow.db"
    target = engine_for(f"sqlite:///{path}")
    schema.upgrade(target)
    target.dispose()
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty CREWFLOW_HOME, with every other setting at its default."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CREWFLOW_{name.upper()}", raising=False)
    monkeypatch.setenv("CREWFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("CREWFLOW_ENCODER_CACHE", str(ENCODER_CACHE))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def _use(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("CREWFLOW_DATABASE_URL", url)
    get_settings.cache_clear()
    engine_for.cache_clear()
    engine = engine_for(url)
    yield engine
    engine.dispose()
    engine_for.cache_clear()
    get_settings.cache_clear()


@pytest.fixture
def sqlite_store(home: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A migrated, empty SQLite database: where the backend does not matter."""
    shutil.copy(sqlite_template, home / "crewflow.db")
    yield from _use(f"sqlite:///{home / 'crewflow.db'}", monkeypatch)


@pytest.fixture
def postgres_store(home: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A migrated, empty PostgreSQL database."""
    database = f"test_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {database} TEMPLATE {postgres_server.template}")
    yield from _use(postgres_server.url(database), monkeypatch)
    postgres_server.execute(f"DROP DATABASE {database} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Engine:
    """A migrated, empty database: the test runs on SQLite and again on PostgreSQL."""
    fixture = {"sqlite": "sqlite_store", "postgresql": "postgres_store"}[request.param]
    engine: Engine = request.getfixturevalue(fixture)
    return engine
