"""The gateway under mixed load while versions change, workers die, the database stops: `python -m benchmarks.soak`.

Counts wrong answers, answers that the documentation does not promise, and what was acknowledged and is not in the
database at the end; plots memory. Needs PostgreSQL's server programs and an installation that `crewflow demo` filled.
"""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from benchmarks.options import json_option
from benchmarks.postgres import PostgresServer
from benchmarks.serving_servers import BIN, ROOT
from benchmarks.soak_cases import cases, items
from benchmarks.soak_figures import Figures, figures, plot, table
from benchmarks.soak_home import copied_database, register, settings_of, two_versions
from benchmarks.soak_load import Champions, Clients, Outage
from benchmarks.soak_memory import Memory
from benchmarks.soak_trouble import Trouble
from crewflow_assets.settings import Settings
from crewflow_assets.store import keys
from crewflow_assets.store.database import batched, reading, transaction
from crewflow_assets.store.tables import Event, IdempotentAnswer, Prediction

WORKERS = 2
CLIENTS = 6
ITEMS = 24
START_SECONDS = 180.0
QUIETLY = 0.25


@contextmanager
def gateway(home: Path, port: int, settings: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run the gateway of the present settings, and of those given, with two workers.

    Raises:
        RuntimeError: it does not start, or does not end by itself.
    """
    import httpx

    log = home / "gateway.log"
    environment = os.environ | {
        "CREWFLOW_GATEWAY_WORKERS": str(WORKERS),
        "CREWFLOW_WITHHELD_SHARE": "0",
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    command = [str(BIN / "bentoml"), "serve", "serving.gateway:service", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)
    try:
        began = perf_counter()
        while True:
            if process.poll() is not None or perf_counter() - began > START_SECONDS:
                raise RuntimeError(f"the gateway did not start:\n{log.read_text()[-3000:]}")
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == httpx.codes.OK:
                    break
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.5)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


def soak(
    source: Path,
    minutes: float,
    every: float,
    port: int,
    *,
    quietly: float = QUIETLY,
    settings: Mapping[str, str] | None = None,
) -> Figures:
    """Run it on a copy of an installation and return what was seen.

    Args:
        source: The installation.
        minutes: How long.
        every: Seconds between two troubles.
        port: Of the gateway.
        quietly: The share of the time, at the end, without new trouble.
        settings: Environment variables of the gateway alone.
    """
    with TemporaryDirectory(prefix="crewflow-soak-") as folder, PostgresServer(durable=True) as server:
        home = Path(folder)
        models = two_versions(source)
        url = copied_database(source, server)
        with settings_of(home, url):
            os.environ["CREWFLOW_WITHHELD_SHARE"] = "0"  # the expected answers must be the gateway's
            versions = register(models)
            asked, mapped = cases(versions), items(ITEMS)
            champions = Champions({version.spec.name: version.label for version in reversed(versions)})
            with transaction() as session:
                token, _ = keys.create(session, "soak", None, requests_per_minute=keys.MOST_PER_MINUTE)
            memory = Memory()
            outages: list[Outage] = []
            with gateway(home, port, settings or {}) as process:
                clients = Clients(f"http://127.0.0.1:{port}", token, asked, mapped, champions, outages)
                trouble = Trouble(process, server, versions, champions, outages)
                began = perf_counter()
                until = began + 60 * minutes
                threads = [
                    threading.Thread(target=memory.watch, args=(process.pid,)),
                    threading.Thread(target=trouble.make, args=(until - quietly * 60 * minutes, every)),
                    threading.Thread(target=_stop_at, args=(clients, until)),
                ]
                for thread in threads:
                    thread.start()
                asyncio.run(clients.run(CLIENTS))
                memory.stopping = True
                for thread in threads:
                    thread.join()
            lost = _lost(clients)
        return figures(clients.tally, trouble.happened, memory.samples, lost, began)


def _stop_at(clients: Clients, until: float) -> None:
    time.sleep(max(0.0, until - perf_counter()))
    clients.stopping = True


def _lost(clients: Clients) -> dict[str, list[str]]:
    """Return what was acknowledged and is neither in the database nor in the spool, by kind."""
    from serving.prediction_log import PredictionLog
    from serving.spool import read_part

    tally = clients.tally
    spooled = {row["id"] for part in PredictionLog().spool.look() for row in read_part(part)}
    with reading() as session:
        return {
            "decisions": _missing(session, IdempotentAnswer.key, sorted(tally.decisions)),
            "events": _missing(session, Event.event_id, sorted(tally.events)),
            "predictions": [
                one for one in _missing(session, Prediction.id, sorted(tally.predictions)) if one not in spooled
            ],
        }


def _missing(session: Session, column: InstrumentedAttribute[str], ids: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for part in batched(ids):
        found.update(session.scalars(select(column).where(column.in_(part))))
    return [one for one in ids if one not in found]


def setting(text: str) -> tuple[str, str]:
    """Return name and value of ``NAME=VALUE``.

    Raises:
        typer.BadParameter: it has no ``=``, or no setting of that name exists.
    """
    name, is_setting, value = text.partition("=")
    known = {f"CREWFLOW_{field.upper()}" for field in Settings.model_fields}
    if not is_setting or name not in known:
        raise typer.BadParameter(f"{text!r} is no setting; give CREWFLOW_...=VALUE, see docs/operations.md")
    return name, value


def main(
    home: Annotated[
        Path, typer.Option(help="The installation, filled by `crewflow demo`.", exists=True, file_okay=False)
    ],
    minutes: Annotated[float, typer.Option(min=1, help="How long.")] = 60.0,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds between two troubles; by default a 60th of the time, 15 at least."),
    ] = None,
    quiet: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the time, at the end, without trouble.")
    ] = QUIETLY,
    settings: Annotated[
        list[str] | None, typer.Option("--setting", help="CREWFLOW_...=VALUE for the gateway; repeatable.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The gateway's.")] = 3190,
    json_file: Annotated[Path | None, json_option("Write the figures here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write the plot into this directory.")] = None,
) -> None:
    """Put the gateway under mixed load while versions change, workers die and the database stops.

    Counts wrong answers, answers that the documentation does not promise, and what was acknowledged and is not in
    the database at the end; plots memory. Needs PostgreSQL's server programs. Ends with status 1 where anything was
    wrong or lost.
    """
    chosen = dict(setting(text) for text in settings or [])
    found = soak(home.resolve(), minutes, every or max(15.0, minutes), port, quietly=quiet, settings=chosen)
    print(table(found))
    if json_file is not None:
        json_file.write_text(json.dumps(found.as_json(), indent=1))
    if plots is not None:
        plot(found, plots / "soak.png")
    raise typer.Exit(0 if found.clean else 1)


if __name__ == "__main__":
    typer.run(main)
