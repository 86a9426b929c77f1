"""How fast the models answer over HTTP, beside other ways to serve them: `python -m benchmarks.serving`."""

import json
import os
import platform
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.options import json_option
from benchmarks.serving_cases import CASES, Case
from benchmarks.serving_figures import Found, markdown, write_plots
from benchmarks.serving_rounds import BATCH_SIZE, CLIENTS, FULL, QUICK, Bench, Effort
from benchmarks.serving_servers import running, servers
from crewflow_assets import clock, registration, registry
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.settings import get_settings
from crewflow_assets.store import keys, schema
from crewflow_assets.store.database import transaction

console = Console(stderr=True)


def prepare(case: Case, effort: Effort) -> str:
    """Fit, register and promote a model, write what it needs into the store, and return a platform key."""
    case.write(effort.small, effort.large)
    with transaction() as session:
        token, _ = keys.create(session, "benchmark", None)
    now = clock.now()
    with TemporaryDirectory() as folder:
        case.fit(effort.small).save(Path(folder))
        (Path(folder) / MODEL_NAME).write_text(case.spec.name)
        record = registration.TrainingRecord(
            role="candidate",
            seed=0,
            data_until=now - timedelta(days=1),
            feature_hash="benchmark",
            code_hash="benchmark",
        )
        version = registration.register(case.spec, Path(folder), record)
    registry.promote(version, registry.CHAMPION)
    return token


def measure(case: Case, home: Path, effort: Effort, progress: Progress) -> Found:
    """Measure one model with all its servers."""
    bar = progress.add_task(f"{case.spec.name}: fitting and filling the store", total=None)
    token = prepare(case, effort)
    progress.update(bar, description=f"{case.spec.name}: starting servers")
    with ExitStack() as stack:
        started = {
            server.name: stack.enter_context(running(server, home))
            for server in servers(case.spec.name, token, design=case.design)
        }
        bench = Bench(case, effort, home, started)
        progress.update(bar, description=f"{case.spec.name}: servers run", total=1, completed=1)
        measured = bench.rounds(progress)
        bar = progress.add_task(f"{case.spec.name}: the parts of an answer", total=None)
        parts = bench.parts()
        probes = []
        for probe in case.probes:
            if effort.large or not probe.slow_start:
                progress.update(bar, description=f"{case.spec.name}: {probe.name}")
                probes.append(bench.probe(probe))
    notes = (
        f"{CLIENTS} clients (alone: one) in a process of their own on the servers' machine ({os.cpu_count()} cores, "
        f"{platform.machine()}); batches of {BATCH_SIZE}; {effort.rounds} rounds of {effort.seconds:g} s each, all "
        f"servers in turn; {effort.pairs} pairs with logs and without; one process a server, our keys and logs on. "
        "Intervals: 95 % of the median by the sign test, of fewer than 6 rounds their range.",
    )
    return Found(case.spec.name, tuple(measured), parts, tuple(probes), notes)


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Short rounds, a small fit, no 50,000 accounts: a smoke run.")
    ] = False,
    json_file: Annotated[Path | None, json_option("Write one record a model, server and load here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    only: Annotated[str | None, typer.Option(help=f"Measure one model: {', '.join(CASES)}.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often each server is asked in turn.")] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="How often ours is asked with logs and without.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.5, help="For how long each time.")] = None,
    large: Annotated[bool, typer.Option("--large", help="The chart of 50,000 accounts, though --quick.")] = False,
) -> None:
    """Measure requests a second, p50 and p99 of the gateway beside its peers, on models fitted for the purpose.

    State is kept in a temporary folder, whatever CREWFLOW_HOME says. Nothing else should run meanwhile: clients and
    servers share the machine's cores, so compare the servers with each other rather than with other machines.
    """
    if only is not None and only not in CASES:
        console.print(f"there is no case for {only!r}; there are {', '.join(CASES)}")
        raise typer.Exit(2)
    effort = QUICK if quick else FULL
    effort = replace(
        effort,
        rounds=rounds or effort.rounds,
        pairs=pairs or effort.pairs,
        seconds=seconds or effort.seconds,
        large=effort.large or large,
    )
    found: list[Found] = []
    with TemporaryDirectory(prefix="crewflow-serving-") as folder, Progress(console=console) as progress:
        home = Path(folder)
        os.environ.setdefault("CREWFLOW_ENCODER_CACHE", str(get_settings().root / "encoder"))
        os.environ["CREWFLOW_HOME"] = str(home)
        os.environ.pop("CREWFLOW_DATABASE_URL", None)
        os.environ["CREWFLOW_REQUESTS_PER_MINUTE"] = "10000000"  # the speed is asked, not the limit
        get_settings.cache_clear()
        schema.upgrade()
        for name, case in CASES.items():
            if only in (None, name):
                found.append(measure(case, home, effort, progress))
                print(markdown(found[-1]))
                if json_file is not None:  # after each model, as plots are, so that an interrupted run leaves it
                    records = [m.as_json() for one in found for m in one.measured]
                    rest = [
                        {"model": f.model, "parts_ms": f.parts, "probes": [asdict(p) for p in f.probes]}
                        for f in found
                    ]
                    json_file.write_text(json.dumps({"loads": records, "answers": rest}, indent=1))
                if plots is not None:
                    write_plots(found[-1:], plots)


if __name__ == "__main__":
    typer.run(main)
