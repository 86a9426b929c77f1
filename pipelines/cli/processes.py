"""The long-running processes of an installation: what they are, and their environment."""

import errno
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from crewflow_assets import registry
from crewflow_assets.settings import get_settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Process:
    """A process with its address, or what it does where it has none."""

    name: str
    command: tuple[str, ...]
    shown: str


def environment() -> dict[str, str]:
    """Return the environment of all processes: absolute paths, and no telemetry."""
    home = get_settings().root
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    (dagster_home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    return os.environ | {
        "CREWFLOW_HOME": str(home),
        "DAGSTER_HOME": str(dagster_home),
        "PYTHONUNBUFFERED": "1",
    }


def gateway(port: int | None = None, folder: Path | None = None) -> Process:
    """Return the HTTP gateway, at ``CREWFLOW_GATEWAY_PORT`` unless another port is given.

    It has a BentoML folder of its own, by its port unless it is given: a service that starts empties the metrics of
    all that share its folder.
    """
    at = str(port or get_settings().gateway_port)
    own = folder or get_settings().root / "gateway" / f"bentoml-{at}"
    serve = (script("bentoml"), "serve", "serving.gateway:service", "--host", "127.0.0.1", "--port", at)
    command = ("env", f"BENTOML_HOME={own}", *serve)
    return Process("gateway", command, f"http://127.0.0.1:{at}/docs")


def port_or_another(wanted: int) -> int:
    """Return the port on loopback, or any that is free where another process listens there."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return int(probe.getsockname()[1])
    raise OSError(errno.EADDRINUSE, "no port is free on 127.0.0.1")


def all_processes() -> list[Process]:
    """Return everything that `crewflow up` runs."""
    settings = get_settings()
    dagster, tracking = str(settings.dagster_port), str(settings.mlflow_port)
    workspace = str(ROOT / "workspace.yaml")
    return [
        Process(
            "dagster",
            (script("dagster-webserver"), "-h", "127.0.0.1", "-p", dagster, "-w", workspace),
            f"http://127.0.0.1:{dagster}",
        ),
        Process("daemon", (script("dagster-daemon"), "run", "-w", workspace), "schedules and sensors"),
        Process(
            "mlflow",
            (
                *(script("mlflow"), "server", "--host", "127.0.0.1", "--port", tracking),
                *("--backend-store-uri", registry.tracking_uri()),
                *("--default-artifact-root", registry.artifact_root()),
                *("--workers", "1"),
            ),
            f"http://127.0.0.1:{tracking}",
        ),
        gateway(),
        Process("outbox", (script("crewflow"), "deliver", "--watch"), "sends commands"),
    ]


def script(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(Path(sys.executable).parent / name)
