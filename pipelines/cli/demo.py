"""``crewflow demo``: the platform's main job from an empty folder to an answer over HTTP."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:  # the command line starts faster without them
    from dagster import DagsterInstance, JobDefinition
    from rich.console import Console

    from crewflow_assets.spec import ModelSpec

START_SECONDS, STOP_SECONDS = 120, 30
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}  # Dagster keeps the events all the same


def demo() -> None:
    """Fill an empty installation with a simulated world, train every model, and ask each one question over HTTP.

    Safe to run again: a filled database is left as it is, and what has not changed is not trained again.

    \b
    Examples:
      crewflow demo
      CREWFLOW_HOME=/tmp/crewflow CREWFLOW_SCALE=full crewflow demo
    """
    from rich.console import Console

    from crewflow_assets.models import MODEL_SPECS
    from crewflow_assets.settings import get_settings
    from crewflow_assets.store import schema

    console = Console()
    began = perf_counter()
    schema.upgrade()
    _fill(console)
    _materialise(console)
    with _gateway(console) as url:
        answers = {spec.name: _ask(url, spec) for spec in MODEL_SPECS}
    for spec in MODEL_SPECS:
        _show(console, spec, answers[spec.name])
    settings = get_settings()
    console.print(
        f"\nDone in {perf_counter() - began:.0f} s at scale [bold]{settings.scale}[/bold]. Where to look next:"
    )
    console.print("  make up                          Dagster, MLflow, the gateway and its /docs, together")
    console.print("  crewflow suggest --company c-1   a company's review queue with suggestions and reasons")
    console.print("  crewflow import --help           bring in your own charts, cost codes and mappings")
    console.print(f"  {settings.root}   all state; delete it to start over")


def _fill(console: "Console") -> None:
    from rich.progress import Progress

    from crewflow_assets.errors import ConflictError
    from crewflow_assets.handlers import EVENT_HANDLERS
    from crewflow_assets.settings import get_settings
    from crewflow_assets.twin.fill import fill, is_empty

    settings = get_settings()
    begun = settings.root / "demo.filling"
    if begun.exists() and not is_empty():
        raise ConflictError(
            f"an earlier run was interrupted while it filled the database; if the companies there are your own, "
            f"delete the file {begun} alone, and run this again; if they are simulated, the world is incomplete: "
            f"delete {settings.root}{' and the database' if settings.database_url else ''}, and run this again"
        )
    if not is_empty():
        console.print("The database has companies already; it is left as it is.")
        return
    settings.root.mkdir(parents=True, exist_ok=True)
    begun.touch()
    with Progress(console=console) as progress:
        task = progress.add_task("Simulated companies", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        filled = fill(scale=settings.scale, seed=settings.seed, handlers=EVENT_HANDLERS, progress=show)
    begun.unlink()
    console.print(
        f"{filled.companies} companies: {filled.accounts} accounts, {filled.items} cost codes and projects, "
        f"{filled.decisions} decisions of people, {filled.syncs} syncs, {filled.retries} retries, "
        f"{filled.conflicts} conflicts"
    )


def _materialise(console: "Console") -> None:
    import os

    from pipelines.cli.processes import environment

    os.environ.update(environment())
    import dagster as dg

    from crewflow_assets import clock
    from crewflow_assets.ingest.event_kinds import PAYLOADS
    from crewflow_assets.lake.events import stale_days
    from crewflow_assets.models import MODEL_SPECS
    from crewflow_assets.store.database import reading
    from pipelines.definitions import defs
    from pipelines.lake import range_tags

    with dg.DagsterInstance.get() as instance:
        for kind in PAYLOADS:
            with reading() as session:
                stale = stale_days(session, kind)
            today: date = clock.now().date()
            tags = range_tags(min(stale, default=today), max(stale, default=today))
            _run(console, instance, defs.resolve_job_def(f"lake_{kind}"), tags)
        for spec in MODEL_SPECS:
            _run(console, instance, defs.resolve_job_def(f"{spec.name}_training"), {"crewflow/reason": "demo"})
        _run(console, instance, defs.resolve_job_def("models_monitoring"), {"crewflow/reason": "demo"})


def _run(console: "Console", instance: "DagsterInstance", job: "JobDefinition", tags: dict[str, str]) -> None:
    began = perf_counter()
    with console.status(f"Dagster: {job.name} …"):
        result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False, run_config=QUIET)
    if not result.success:
        console.print(f"[red]{job.name} failed[/red] (run {result.run_id}); look at it with `crewflow up`")
        raise typer.Exit(1)
    console.print(f"Dagster: {job.name} {perf_counter() - began:.1f} s")


@contextmanager
def _gateway(console: "Console") -> Iterator[str]:
    import httpx

    from crewflow_assets.settings import get_settings
    from pipelines.cli.processes import ROOT, environment, gateway, port_or_another

    # `crewflow up` may run beside it, of this installation or another
    port = port_or_another(get_settings().gateway_port)
    url = f"http://127.0.0.1:{port}"
    log = get_settings().root / "gateway.log"
    own = TemporaryDirectory(prefix="crewflow-demo-", ignore_cleanup_errors=True)
    with own as folder, log.open("wb") as output:
        command = gateway(port, Path(folder)).command
        process = subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            with console.status("Gateway: starting …"):
                _wait(lambda: httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    import httpx

    began = perf_counter()
    while perf_counter() - began < START_SECONDS:
        if process.poll() is not None:
            break
        try:
            if ready():
                return
        except httpx.TransportError:
            pass  # not listening yet
        sleep(0.3)
    typer.echo(f"the gateway did not start; its last words, of {log}:\n{log.read_text()[-2000:]}", err=True)
    raise typer.Exit(1)


def _ask(url: str, spec: "ModelSpec") -> dict[str, Any]:
    from serving.client import MLClient

    with MLClient(url, _demo_key()) as client:
        return client.predict(spec.name, "champion", dict(spec.example))


def _demo_key() -> str:
    """Return the platform key of the demo, kept beside the state; a new one where the database does not know it."""
    from crewflow_assets.settings import get_settings
    from crewflow_assets.store import keys
    from crewflow_assets.store.database import transaction

    file = get_settings().root / "demo.key"
    with transaction() as session:
        if file.exists() and keys.verify(session, kept := file.read_text().strip()) is not None:
            return kept
        token, _ = keys.create(session, "demo", None)
    file.touch(mode=0o600)
    file.write_text(token)
    return token


def _show(console: "Console", spec: "ModelSpec", answer: dict[str, Any]) -> None:
    from rich.table import Table

    from crewflow_assets import registry

    version = registry.find(spec, registry.CHAMPION)
    table = Table(title=f"{spec.name}: {spec.question}", title_justify="left", show_header=False)
    table.add_row(
        "version", f"{version.label} ({', '.join(version.aliases)}), {version.tags.get('crewflow.decision')}"
    )
    for name in spec.headline:
        table.add_row(name, version.figures.get(name, "not measured"))
    table.add_row("asked", json.dumps(spec.example, ensure_ascii=False))
    table.add_row("answered", json.dumps(answer, ensure_ascii=False, indent=1))
    console.print(table)
