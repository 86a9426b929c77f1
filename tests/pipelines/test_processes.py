"""The processes of an installation."""

import socket

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
