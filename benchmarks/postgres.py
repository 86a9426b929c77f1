"""A PostgreSQL server of one's own, on loopback, for tests and for the soak: started, stopped, started again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

START_SECONDS = 60.0
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "timezone": "Pacific/Auckland",  # far from UTC, so that a forgotten timezone shows
}


class NoPostgresError(Exception):
    """There is no PostgreSQL here, or nobody to run it as."""


class PostgresServer:
    """A running server in a folder of its own, which is removed in the end.

    Args:
        durable: Whether what was committed outlives a killed server.

    Raises:
        NoPostgresError: initdb and postgres are not installed, or the only account is root.
        RuntimeError: it did not start; the end of its log is told.
    """

    template = "crewflow_template"
    host = "127.0.0.1"

    def __init__(self, *, durable: bool = False) -> None:
        self._binaries = _binaries()
        self._user = _user()
        self._settings = SETTINGS if not durable else {"max_connections": SETTINGS["max_connections"]}
        self._folder = Path(tempfile.mkdtemp(prefix="crewflow-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        try:
            if os.geteuid() == 0:
                shutil.chown(self._folder, self._user)
            create = [
                str(self._binaries / "initdb"),
                "-D",
                str(self._folder / "data"),
                "-U",
                "crewflow",
                "-A",
                "trust",
            ]
            log = self._folder / "initdb.log"
            if self._spawn([*create, "-E", "UTF8", "--locale=C", "--no-sync"], log).wait(timeout=120) != 0:
                raise RuntimeError(f"initdb failed:\n{log.read_text(errors='replace')[-2000:]}")
            for _ in range(3):  # on another port if that was taken meanwhile
                self.port = free_port()
                if self._started():
                    return
            raise RuntimeError(f"PostgreSQL did not start:\n{self._last_words()}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql+psycopg://crewflow@{self.host}:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Run a statement outside of any transaction, in the database ``postgres``."""
        with psycopg.connect(
            host=self.host, port=self.port, user="crewflow", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        """Start it again after ``stop``, on the same port with the same data.

        Raises:
            RuntimeError: it did not start.
        """
        if not self._started():
            raise RuntimeError(f"PostgreSQL did not start again:\n{self._last_words()}")

    def stop(self) -> None:
        """End it as `pg_ctl stop -m fast` does: connections are closed, transactions rolled back."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)

    def close(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _started(self) -> bool:
        options = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            **self._settings,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *settings]
        self._process = self._spawn(command, self._folder / "server.log")
        deadline = time.perf_counter() + START_SECONDS
        while self._process.poll() is None and time.perf_counter() < deadline:
            if self._answers():
                return True
            time.sleep(0.05)
        self.stop()
        return False

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _last_words(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")[-2000:]

    def _spawn(self, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        account = pwd.getpwnam(self._user)
        with log.open("ab") as output:
            if os.geteuid() != 0:
                return subprocess.Popen(arguments, cwd=self._folder, stdout=output, stderr=output)
            return subprocess.Popen(
                arguments,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "LC_ALL": "C"},
            )


def _binaries() -> Path:
    """Return the folder that holds initdb and postgres, the newest where several are installed."""
    packaged = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True
    )
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in [*packaged, *on_path]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgresError("PostgreSQL's initdb and postgres are neither on PATH nor in /usr/lib/postgresql/*/bin")


def _user() -> str:
    """Return the account that the server runs as; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise NoPostgresError("running as root, and there is no account 'postgres' or 'nobody' to run PostgreSQL as")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
