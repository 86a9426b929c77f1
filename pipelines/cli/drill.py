"""``crewflow drill``: an outage of a simulated API on a fast clock; all else is as in earnest."""

import json
import os
import secrets
import shutil
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # commands load what they need when they run
    from rich.console import Console

    from crewflow_assets.outbox.webhook import WebhookClient
    from crewflow_assets.store.tables import AuditEntry
    from crewflow_assets.twin.receiver import CommandInbox
    from crewflow_assets.twin.sync.world import SyncWorld

WARM_UP_DAYS = 14
OUTAGE_HOUR = 9
DAYS = WARM_UP_DAYS + 2
STEPS = 96
"""Ticks of a day."""
CLOSE = range(WARM_UP_DAYS * STEPS + (OUTAGE_HOUR - 1) * 4, WARM_UP_DAYS * STEPS + (OUTAGE_HOUR + 7) * 4)
"""The ticks at each of which the watch runs; after them it runs every second hour, since a run takes a second."""
RARELY = 8


def drill(
    minutes: Annotated[int, typer.Option(min=30, max=720, help="How long the API is down.")] = 150,
    system: Annotated[str, typer.Option(help="Whose API: quickbooks, sage or xero.")] = "quickbooks",
    integrations: Annotated[int, typer.Option(min=3, max=300, help="How many simulated integrations sync.")] = 30,
) -> None:
    """Rehearse an outage: alert, pause, resumption and resolution, shown in the audit log.

    Two weeks of syncs of a simulated world are posted as events. Then an API goes down; the watch runs every 15
    simulated minutes as a Dagster job with the champion (every two hours once the outage is over), and its commands
    are delivered to a receiver that carries them out in the world. Everything happens in a home folder of its own,
    `drill` under CREWFLOW_HOME; the runs appear in Dagster.

    \b
    Examples:
      crewflow drill
      crewflow drill --system xero --minutes 60
    """
    from rich.console import Console

    from crewflow_assets.twin.sync.parameters import SYSTEMS
    from pipelines.integrations import champion

    if system not in SYSTEMS:
        raise typer.BadParameter(f"{system!r} is not simulated; there are {', '.join(SYSTEMS)}")
    console = Console()
    _move_in()
    champion()  # says at once what is missing, and not after the warm-up
    world = _world(system, minutes, integrations)
    with _receiver(world) as (inbox, client):
        _warm_up(world, console)
        _live_on(world, inbox, client, console)
    _tell(system, console)


def _move_in() -> None:
    """Begin in an empty home folder that shares the models and the Dagster instance of the installation."""
    from crewflow_assets.settings import get_settings
    from crewflow_assets.store import schema
    from pipelines.cli.processes import environment

    shared = environment()
    root = get_settings().root
    home = root / "drill"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (root / "mlflow").mkdir(exist_ok=True)
    (home / "mlflow").symlink_to(root / "mlflow", target_is_directory=True)
    os.environ.update(shared | {"CREWFLOW_HOME": str(home)})
    os.environ.pop("CREWFLOW_DATABASE_URL", None)
    get_settings.cache_clear()
    schema.upgrade()


def _world(system: str, minutes: int, integrations: int) -> "SyncWorld":
    """Return a world that ends before now, with the outage on the morning after the warm-up."""
    from dataclasses import replace

    from crewflow_assets import clock
    from crewflow_assets.settings import get_settings
    from crewflow_assets.twin.sync.outages import Kind, Phase
    from crewflow_assets.twin.sync.world import SyncWorld, standard_draw

    midnight = datetime.combine(clock.now().date(), datetime.min.time(), UTC)
    begins = WARM_UP_DAYS * 1440 + OUTAGE_HOUR * 60 + 5
    outage = Phase(Kind.OUTAGE, begins, begins + minutes, failing=1.0, latency=3.0, announced=True)
    draw = replace(standard_draw(get_settings().seed, integrations), injected={system: [outage]})
    return SyncWorld([draw], start=midnight - timedelta(days=DAYS), days=DAYS)


@contextmanager
def _receiver(world: "SyncWorld") -> "Iterator[tuple[CommandInbox, WebhookClient]]":
    """Serve a webhook on loopback that verifies signatures and hands commands to the world."""
    from standardwebhooks import Webhook, WebhookVerificationError

    from crewflow_assets.outbox.webhook import WebhookClient
    from crewflow_assets.twin.receiver import CommandInbox

    inbox = CommandInbox(world)
    secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            try:
                Webhook(secret).verify(body, {name.lower(): value for name, value in self.headers.items()})
            except WebhookVerificationError:
                self.send_response(401)
            else:
                inbox.take(json.loads(body))
                self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with WebhookClient(f"http://127.0.0.1:{server.server_address[1]}/", secret) as client:
            yield inbox, client
    finally:
        server.shutdown()
        server.server_close()


def _warm_up(world: "SyncWorld", console: "Console") -> None:
    """Post two weeks of syncs."""
    from rich.progress import track
    from sqlalchemy import insert

    from crewflow_assets.store.database import transaction
    from crewflow_assets.store.tables import Company
    from crewflow_assets.twin.sync.attempts import joined

    with transaction() as session:
        known = sorted({customer.company_id for customer in world.fleet.customers})
        rows = [{"id": id_, "name": id_, "industry": "general", "created_at": world.start} for id_ in known]
        session.execute(insert(Company), rows)
    for _ in track(range(WARM_UP_DAYS), "Two weeks of syncs", console=console):
        parts = []
        for _ in range(STEPS):
            world.begin_tick()
            parts.append(world.finish_tick())
        _post(world, joined(parts))


def _post(world: "SyncWorld", attempts: Any) -> None:
    """Post attempts, and what status pages said until the world's present, as events."""
    from crewflow_assets import clock
    from crewflow_assets.handlers import EVENT_HANDLERS
    from crewflow_assets.ingest.events import record_events
    from crewflow_assets.store.database import transaction
    from crewflow_assets.twin.sync.history import attempt_table, events_of, status_table

    now = world.moment(world.tick + 1)
    since = now - timedelta(days=1, hours=1)
    statuses = (e for e in events_of("api_status", status_table(world), until=now) if e.occurred_at >= since)
    events = [*events_of("sync_attempt", attempt_table(world, attempts), until=now), *statuses]
    with clock.fixed(now), transaction() as session:
        record_events(session, sorted(events, key=lambda event: event.occurred_at), handlers=EVENT_HANDLERS)


def _live_on(world: "SyncWorld", inbox: "CommandInbox", client: "WebhookClient", console: "Console") -> None:
    """Let a tick of the watch, the delivery of its commands and the syncs follow each other to the world's end."""
    import dagster as dg
    from rich.progress import track

    from crewflow_assets import clock
    from crewflow_assets.handlers import REFUSAL_HANDLERS
    from crewflow_assets.outbox.delivery import deliver_due
    from pipelines.cli.demo import QUIET
    from pipelines.definitions import defs
    from pipelines.integrations import WatchConfig

    job = defs.resolve_job_def("integrations_watch")
    with dg.DagsterInstance.get() as instance:
        for _ in track(range(world.ticks - world.tick - 1), "Watch, deliver, sync", console=console):
            world.begin_tick()
            at = world.moment(world.tick)
            if world.tick in CLOSE or (world.tick > CLOSE.stop and world.tick % RARELY == 0):
                config = dg.RunConfig(
                    ops={"integrations__watch": WatchConfig(at=at.isoformat())}, loggers=QUIET["loggers"]
                )
                tags = {"crewflow/reason": "drill", "crewflow/at": at.isoformat()}
                with clock.fixed(at):
                    job.execute_in_process(run_config=config, instance=instance, tags=tags)
                while deliver_due(client, on_refused=REFUSAL_HANDLERS).handled:  # signed by the real clock
                    pass
            _post(world, world.finish_tick(inbox.commands()))


def _tell(system: str, console: "Console") -> None:
    """Print the audit log of the integration to which most happened, and where the rest is."""
    from collections import Counter

    from rich.table import Table
    from sqlalchemy import select

    from crewflow_assets.settings import get_settings
    from crewflow_assets.store.database import reading
    from crewflow_assets.store.sync_tables import Integration
    from crewflow_assets.store.tables import AuditEntry

    with reading() as session:
        entries = session.scalars(
            select(AuditEntry)
            .join(
                Integration,
                (Integration.company_id == AuditEntry.company_id)
                & (Integration.integration_id == AuditEntry.subject_id),
            )
            .where(Integration.system == system)
            .order_by(AuditEntry.at, AuditEntry.id)
        ).all()
    if not entries:
        console.print(f"No trouble was predicted for any integration of {system}.")
        return
    counts = Counter(entry.action for entry in entries)
    console.print(f"{system}: " + ", ".join(f"{action} {number}" for action, number in sorted(counts.items())))
    shown = _fullest(entries)
    table = Table("at", "by", "what", "why", title=f"Audit log of {shown[0].subject_id} of {shown[0].company_id}")
    for entry in shown:
        why = (entry.after or {}).get("reason") or (entry.after or {}).get("detail") or ""
        table.add_row(f"{entry.at:%a %H:%M}", entry.actor, entry.action, why)
    console.print(table)
    home: Path = get_settings().root
    console.print(
        f"All of it: table audit_log of {home / 'crewflow.db'}; the runs: job integrations_watch in Dagster."
    )


def _fullest(entries: "Sequence[AuditEntry]") -> "list[AuditEntry]":
    """Return the entries of the integration that has most kinds of them."""
    by_integration: dict[tuple[str | None, str], list[AuditEntry]] = {}
    for entry in entries:
        by_integration.setdefault((entry.company_id, entry.subject_id), []).append(entry)
    return max(by_integration.values(), key=lambda found: len({entry.action for entry in found}))
