"""Fixtures that all tests share: an isolated home folder, a fresh database on SQLite and on PostgreSQL."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from benchmarks.postgres import NoPostgresError, PostgresServer
from crewflow_assets.settings import Settings, get_settings
from crewflow_assets.store import schema
from crewflow_assets.store.database import engine_for
from crewflow_assets.store.tables import Base

if TYPE_CHECKING:  # seconds to import
    from dagster import DagsterInstance

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

settings.register_profile("crewflow", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("crewflow")


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


def use_database(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Make a database the one in force, for the body of a fixture."""
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
    yield from use_database(f"sqlite:///{home / 'crewflow.db'}", monkeypatch)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a migrated PostgreSQL database that all tests of a process use, one after the other."""
    postgres_server.execute(f"CREATE DATABASE tests TEMPLATE {postgres_server.template}")
    return postgres_server.url("tests")


@pytest.fixture
def postgres_store(home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A migrated, empty PostgreSQL database."""
    own = f"{postgres_url}?application_name={uuid4().hex}"  # what a process keeps by URL is of one test
    for engine in use_database(own, monkeypatch):
        _empty(engine)  # in milliseconds, where making a database takes tenths of a second
        yield engine


def _empty(engine: Engine) -> None:
    """End what other connections still do, delete all rows and number new ones from 1."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # no foreign key is checked
        connection.exec_driver_sql(
            "; ".join(f'DELETE FROM "{table.name}"' for table in Base.metadata.tables.values())
        )
        connection.exec_driver_sql("SELECT setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences")


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Engine:
    """A migrated, empty database: the test runs on SQLite and again on PostgreSQL."""
    fixture = {"sqlite": "sqlite_store", "postgresql": "postgres_store"}[request.param]
    engine: Engine = request.getfixturevalue(fixture)
    return engine


@pytest.fixture
def mlflow_home(home: Path) -> Path:
    """A home with an empty model registry."""
    from tests.worlds import start_registry

    start_registry()
    return home


@pytest.fixture
def versions(sqlite_store: Engine) -> None:
    """A registry with 1.0, 1.1 and 1.2 of the mapping model, of which none has an alias; on SQLite."""
    from tests.registering import give_three_versions

    give_three_versions()


@pytest.fixture
def versions_on_both(store: Engine) -> None:
    """A registry with 1.0, 1.1 and 1.2 of the mapping model, on SQLite and again on PostgreSQL."""
    from tests.registering import give_three_versions

    give_three_versions()


@pytest.fixture
def filled(home: Path) -> Iterator[Path]:
    """A home with companies, decisions and a lake, and an empty registry."""
    from tests.worlds import fill_home

    engine_for.cache_clear()
    fill_home()
    yield home
    engine_for.cache_clear()


@pytest.fixture
def instance() -> Iterator["DagsterInstance"]:
    """A Dagster instance that forgets everything."""
    from dagster import DagsterInstance

    with DagsterInstance.ephemeral() as made:
        yield made
