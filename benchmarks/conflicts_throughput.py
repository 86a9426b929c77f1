"""How many conflicts a second are recorded, resolved and undone, and how long 100,000 undos in bulk take.

Run: ``python -m benchmarks.conflicts_throughput [--postgres] [--bulk 100000] [--json FILE]``. Singly, each is
a transaction of its own with its audit row and command, through the functions that the HTTP routes call, from one
thread. For the bulk, resolved conflicts of several companies are written into the tables directly; taking them back
goes the real way. The database is an empty one: SQLite in a temporary folder, a PostgreSQL server of its own, or that
of a URL.
"""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.options import json_option
from benchmarks.postgres import PostgresServer

console = Console(stderr=True)
app = typer.Typer(add_completion=False)
COMPANIES = 20
TYPE: Literal["hours_mismatch"] = "hours_mismatch"
VERSION = "1.3"
PART = 10_000
CLOCK_SLACK = timedelta(days=1)


def _prepare() -> None:
    from crewflow_assets import clock
    from crewflow_assets.conflict_resolution.switches import set_switch
    from crewflow_assets.store import schema
    from crewflow_assets.store.database import transaction
    from crewflow_assets.store.tables import Company

    schema.upgrade()
    now = clock.now()
    with transaction() as session:
        session.add_all(
            Company(id=f"c-{number}", name=f"c-{number}", industry="roofing", created_at=now, revision=0)
            for number in range(COMPANIES)
        )
    with transaction() as session:
        for number in range(COMPANIES):
            set_switch(
                session,
                company_id=f"c-{number}",
                conflict_type=TYPE,
                mode="automatic",
                daily_cap=10**8,
                decided_by="benchmark",
                at=now - CLOCK_SLACK,
            )


def singly(number: int) -> list[dict[str, Any]]:
    """Record, resolve and undo conflicts one by one; return a record of each kind of step."""
    from sqlalchemy import select

    from crewflow_assets.conflict_resolution import actions
    from crewflow_assets.conflict_resolution.actions import Proposal
    from crewflow_assets.conflict_resolution.standing import inputs_of
    from crewflow_assets.ingest.event_kinds import ConflictRecorded
    from crewflow_assets.store.conflict_tables import Conflict
    from crewflow_assets.store.database import reading, transaction

    keys = [(f"c-{place % COMPANIES}", f"x-{place}") for place in range(number)]

    def record(company: str, conflict_id: str) -> None:
        told = ConflictRecorded.model_validate(
            {
                "conflict_id": conflict_id,
                "conflict_type": TYPE,
                "values": {"crewflow": 8.0, "external": 7.5},
                "worker_id": "w-9",
                "project_id": "p-4",
                "timecard_date": "2026-03-01",
                "last_sync_timestamp": "2026-03-01T06:00:00Z",
                "record_id": f"t-{conflict_id}",
                "crewflow_version": "3",
                "external_version": "7",
            }
        )
        with transaction() as session:
            actions.record(session, company_id=company, conflict=told, decided_by="backend")

    def resolve(company: str, conflict_id: str) -> None:
        proposed = Proposal(inputs[conflict_id], "use_crewflow", 0.97, True, "edited last", VERSION)
        with transaction() as session:
            actions.decide_automatically(session, company_id=company, conflict_id=conflict_id, proposal=proposed)

    def undo(company: str, conflict_id: str) -> None:
        with transaction() as session:
            actions.undo(session, company_id=company, conflict_id=conflict_id, decided_by="sam")

    records = [_timed("record", record, keys)]
    with reading() as session:
        inputs = {row.conflict_id: inputs_of(row) for row in session.scalars(select(Conflict))}
    records.append(_timed("resolve automatically", resolve, keys))
    with reading() as session:
        held = select(Conflict.company_id, Conflict.conflict_id).where(Conflict.state == "resolved")
        undoable = [(company, conflict_id) for company, conflict_id in session.execute(held)]  # not the withheld
    return [*records, _timed("undo", undo, undoable)]


def _timed(step: str, work: Callable[[str, str], None], keys: list[tuple[str, str]]) -> dict[str, Any]:
    took = []
    for company, conflict_id in track(keys, step, console=console, transient=True):
        began = perf_counter()
        work(company, conflict_id)
        took.append(perf_counter() - began)
    seconds = float(np.sum(took))
    p50, p99 = 1000 * np.quantile(took, [0.5, 0.99])
    return {"step": step, "n": len(keys), "seconds": seconds, "a_second": len(keys) / seconds, "p50": p50, "p99": p99}


def in_bulk(number: int) -> dict[str, Any]:
    """Write so many conflicts as resolved automatically, and take all of them back at once.

    Raises:
        RuntimeError: not all of them were taken back.
    """
    from crewflow_assets.conflict_resolution.bulk import Selection, undo_many

    for first in track(range(0, number, PART), "writing resolved conflicts", console=console, transient=True):
        _write_resolved(first, min(number, first + PART))
    with console.status(f"undoing {number:,} at once"):
        began = perf_counter()
        found = undo_many(Selection(model_version=f"{VERSION}-bulk"), decided_by="sam")
    seconds = perf_counter() - began
    if found["undone"] != number:
        raise RuntimeError(f"{found['undone']} of {number} were undone: {found['refused'][:3]}")
    return {"step": "undo in bulk", "n": number, "seconds": seconds, "a_second": number / seconds}


def _write_resolved(first: int, last: int) -> None:
    from sqlalchemy import insert, select

    from crewflow_assets import clock
    from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
    from crewflow_assets.store.database import transaction

    now = clock.now()
    places = range(first, last)
    conflict = {
        "conflict_type": TYPE,
        "state": "resolved",
        "record_type": "timecard",
        "worker_id": "w-9",
        "project_id": "p-4",
        "timecard_date": now.date(),
        "crewflow_value": 8.0,
        "external_value": 7.5,
        "crewflow_version": "3",
        "external_version": "7",
        "last_sync_timestamp": now,
        "opened_at": now,
        "opened_on": now.date(),
        "size": 0.5,
        "blind": False,
    }
    resolution = {
        "conflict_type": TYPE,
        "action": "use_crewflow",
        "value": 8.0,
        "method": "model",
        "state": "in_force",
        "decided_by": "conflict_resolution",
        "decided_at": now,
        "confidence": 0.97,
        "model_version": f"{VERSION}-bulk",
        "propensity": 0.05,
    }
    with transaction() as session:
        session.execute(
            insert(Conflict),
            [
                conflict
                | {
                    "company_id": f"c-{place % COMPANIES}",
                    "conflict_id": f"b-{place}",
                    "record_id": f"t-b-{place}",
                    "decision_id": f"d-{place}",
                    "external_command": f"k-{place}",
                }
                for place in places
            ],
        )
        named = [f"b-{place}" for place in places]
        keys = session.execute(select(Conflict.conflict_id, Conflict.id).where(Conflict.conflict_id.in_(named)))
        ids = {conflict_id: key for conflict_id, key in keys}  # noqa: C416  # rows are no pairs to mypy
        session.execute(
            insert(ConflictResolution),
            [
                resolution
                | {"id": f"d-{place}", "company_id": f"c-{place % COMPANIES}", "conflict": ids[f"b-{place}"]}
                for place in places
            ],
        )


@app.command()
def main(
    database_url: Annotated[str, typer.Option(help="An empty database; by default SQLite, temporary.")] = "",
    postgres: Annotated[bool, typer.Option("--postgres", help="Start a PostgreSQL server for it.")] = False,
    number: Annotated[int, typer.Option(min=10, help="Conflicts recorded, resolved and undone singly.")] = 1_000,
    bulk: Annotated[int, typer.Option(min=10, help="Automatic decisions undone at once.")] = 100_000,
    json_file: Annotated[Path | None, json_option("Write the records here.")] = None,
) -> None:
    """Measure how many conflicts a second are recorded, resolved and undone."""
    with TemporaryDirectory(prefix="crewflow-conflicts-") as home, ExitStack() as stack:
        if postgres:
            server = stack.enter_context(PostgresServer(durable=True))
            server.execute("CREATE DATABASE conflicts")
            database_url = server.url("conflicts")
        os.environ |= {
            "CREWFLOW_HOME": home,
            "CREWFLOW_DATABASE_URL": database_url,
            "CREWFLOW_WITHHELD_SHARE": "0.05",
        }
        from crewflow_assets.store.database import engine

        _prepare()
        records = [{"database": engine().dialect.name} | one for one in (*singly(number), in_bulk(bulk))]
    print("| database | step | n | a second | p50, ms | p99, ms |\n|---|---|---|---|---|---|")
    for one in records:
        spread = f"{one['p50']:.1f} | {one['p99']:.1f}" if "p50" in one else f"– | – (all: {one['seconds']:.0f} s)"
        print(f"| {one['database']} | {one['step']} | {one['n']:,} | {one['a_second']:,.0f} | {spread} |")
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    app()
