"""The processes of an installation."""

import socket

from pipelines.cli.processes import free_port, gateway


def test_a_gateway_beside_another_listens_elsewhere() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        found = free_port(taken)
    assert found != taken
    assert free_port(found) == found
    assert gateway(found).command[-2:] == ("--port", str(found))
