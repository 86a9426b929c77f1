"""The processes of an installation."""

import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import demo
from pipelines.cli.processes import Process, gateway, port_or_another

READY = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def test_a_gateway_beside_another_listens_elsewhere() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        found = port_or_another(taken)
    assert found != taken
    assert port_or_another(found) == found
    assert gateway(found).command[-2:] == ("--port", str(found))


def test_each_gateway_keeps_its_metrics_in_a_folder_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(home / "shared"))
    folders = {gateway(port).command[1] for port in (None, 3101, 3102)}
    assert folders == {f"BENTOML_HOME={home.resolve()}/gateway/bentoml-{port}" for port in (3100, 3101, 3102)}
    assert gateway().command[0] == "env"
    assert gateway(3101, home / "own").command[1] == f"BENTOML_HOME={home}/own"


def test_the_demos_gateway_leaves_no_folder_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []

    def small(port: int, folder: Path) -> Process:
        given.append(folder)
        return Process("gateway", (sys.executable, "-c", READY, str(port)), "")

    monkeypatch.setattr("pipelines.cli.processes.gateway", small)
    for _ in range(2):
        with demo._gateway(Console(quiet=True)):
            assert given[-1].is_dir()
            (given[-1] / "metrics").mkdir()
    assert given[0] != given[1]
    assert not any(folder.exists() for folder in given)
    assert not list(home.rglob("bentoml*"))
