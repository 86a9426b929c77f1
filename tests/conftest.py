"""Fixtures that all tests share: an isolated home folder, a fresh database on SQLite and on PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine

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

START_SECONDS = 60.0


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL server of these tests, with a migrated database to copy."""

    host: str
    port: int
    template: str = "crewflow_template"

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://crewflow@{self.host}:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            host=self.host, port=self.port, user="crewflow", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())


def _postgres_binaries() -> Path | None:
    """Return the folder that holds initdb and postgres, the newest where several are installed."""
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True
    )
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in [*packaged, *on_path]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _server_user() -> str | None:
    """Return the account that the server runs as; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _spawn(arguments: list[str], user: str, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    account = pwd.getpwnam(user)
    with log.open("ab") as output:
        if os.geteuid() != 0:
            return subprocess.Popen(arguments, cwd=folder, stdout=output, stderr=output)
        return subprocess.Popen(
            arguments,
            cwd=folder,
            stdout=output,
            stderr=output,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "LC_ALL": "C"},
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(server: PostgresServer) -> bool:
    try:
        server.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _start(binaries: Path, user: str, folder: Path) -> tuple[PostgresServer, subprocess.Popen[bytes]]:
    """Start the server on a free port, on another one if that was taken meanwhile."""
    log = folder / "server.log"
    for _ in range(3):
        server = PostgresServer("127.0.0.1", _free_port())
        options = {
            "listen_addresses": server.host,
            "port": str(server.port),
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "100",
            "timezone": "Pacific/Auckland",  # far from UTC, so that a forgotten timezone shows
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        process = _spawn([str(binaries / "postgres"), "-D", str(folder / "data"), *settings], user, folder, log)
        deadline = time.perf_counter() + START_SECONDS
        while process.poll() is None and time.perf_counter() < deadline:
            if _answers(server):
                return server, process
            time.sleep(0.05)
        _stop(process)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server, one for each process of the test run; skips where none is installed."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb and postgres are neither on PATH nor in /usr/lib/postgresql/*/bin")
    user = _server_user()
    if user is None:
        pytest.skip("running as root, and there is no account 'postgres' or 'nobody' to run PostgreSQL as")
    folder = Path(tempfile.mkdtemp(prefix="crewflow-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        log = folder / "initdb.log"
        create = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "crewflow", "-A", "trust"]
        if _spawn([*create, "-E", "UTF8", "--locale=C", "--no-sync"], user, folder, log).wait(timeout=120) != 0:
            raise RuntimeError(f"initdb failed:\n{log.read_text(errors='replace')[-2000:]}")
        server, process = _start(binaries, user, folder)
        try:
            server.execute(f"CREATE DATABASE {server.template}")
            target = engine_for(server.url(server.template))
            schema.upgrade(target)
            target.dispose()
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
