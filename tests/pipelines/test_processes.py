"""The processes of an installation."""

import socket
from pathlib import Path

import pytest

from pipelines.cli.processes import gateway, port_or_another


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
