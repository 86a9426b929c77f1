"""How long a tick of the watch takes over many integrations: acting alone, at several shares at risk, and scoring.

Run: ``python -m benchmarks.sync_watch [--integrations 10000] [--days 7] [--database-url URL] [--json FILE]``. In the
first cases the scores are given. In the last ones a model gives them, from the simulated attempts of so many days in
the lake; the first of them reads the lake. The database is an empty one: SQLite in a temporary folder unless a URL is
named. ``cpu_seconds`` is what the process used of its cores: where others use them too, it is the steadier figure.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.options import json_option
from crewflow_assets.settings import get_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from crewflow_assets.sync_health.model import SyncHealthPredictor

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
TICK = timedelta(minutes=15)
SCORED_AT = datetime(2026, 3, 2, tzinfo=UTC)
"""The end of the simulated history; a world begins and ends at midnight."""
PER_COMPANY = 2
CASES = (
    ("nobody at risk", 0.0, "api_down"),
    ("2 % at risk for the first time", 0.02, "api_down"),
    ("all at risk: one action and up to two alerts each company", 1.0, "api_down"),
    ("all at risk still", 1.0, "api_down"),
    ("nobody at risk, pauses end", 0.0, "api_down"),
)
WORLD_SEED = 5
TRAINED_ON = (150, 14)
"""Integrations and days."""
LEAD_MINUTES = 10.0
PAUSE_ENDS = 4
"""Ticks before the last case."""


def measure(integrations: int, progress: bool = True) -> list[dict[str, Any]]:
    """Run the cases one after another on a migrated, empty database and return a record of each."""
    from rich.progress import track

    _prepare(integrations)
    at, records = BEGIN, []
    for place, (name, share, cause) in enumerate(track(CASES, "Ticks", disable=not progress)):
        at += TICK * (PAUSE_ENDS if place == len(CASES) - 1 else 1)
        records.append({"case": name, "integrations": integrations} | _tick(at, share, cause))
    return records


def _prepare(integrations: int) -> None:
    from sqlalchemy import insert

    from crewflow_assets.store import schema
    from crewflow_assets.store.database import transaction
    from crewflow_assets.store.sync_tables import Integration
    from crewflow_assets.store.tables import Company
    from crewflow_assets.sync_health.integrations import ACTIVE, FRESHNESS_MINUTES

    schema.upgrade()
    companies = [f"c-{number}" for number in range(-(-integrations // PER_COMPANY))]
    with transaction() as session:
        session.execute(
            insert(Company),
            [{"id": id_, "name": id_, "industry": "general", "created_at": BEGIN} for id_ in companies],
        )
        session.execute(
            insert(Integration),
            [
                {
                    "company_id": f"c-{number // PER_COMPANY}",
                    "integration_id": f"i-{number}",
                    "system": "quickbooks",
                    "interval_minutes": 15.0,
                    "freshness_minutes": FRESHNESS_MINUTES,
                    "state": ACTIVE,
                    "needs_authorisation": False,
                    "last_attempt_at": BEGIN,
                    "last_ok_at": BEGIN,
                    "created_at": BEGIN,
                }
                for number in range(integrations)
            ],
        )


def measure_scoring(integrations: int, days: int, progress: bool = True) -> list[dict[str, Any]]:
    """Score simulated integrations by a model and act on it, twice, on a migrated, empty database."""
    from crewflow_assets import clock
    from crewflow_assets.store import schema
    from crewflow_assets.sync_health.answering import answer
    from crewflow_assets.sync_health.watch import answering_scorer, tick
    from crewflow_assets.twin.sync.history import attempt_table, status_table

    schema.upgrade()
    world, made = world_until(SCORED_AT, WORLD_SEED, integrations, days, progress)
    attempts = attempt_table(world, made)
    write_lake("sync_attempt", attempts)
    write_lake("api_status", status_table(world))
    add_integrations(attempts)
    predictor = fitted(progress)
    scorer, records = answering_scorer(lambda requests: answer(predictor, requests)), []
    for name, at in (
        ("scored by a model, the lake read", SCORED_AT),
        ("scored by a model, the next tick", SCORED_AT + TICK),
    ):
        began, cpu = perf_counter(), process_time()
        with clock.fixed(at):
            report = tick(scorer, at, model_version="benchmark")
        took = {"seconds": perf_counter() - began, "cpu_seconds": process_time() - cpu}
        records.append({"case": name, "attempts": attempts.num_rows} | took | asdict(report))
    return records


def world_until(end: datetime, seed: int, integrations: int, days: int, progress: bool) -> tuple[Any, Any]:
    """Return a simulated world of so many days until a midnight, and its attempts."""
    from rich.progress import Progress

    from crewflow_assets.twin.sync.world import SyncWorld, run, standard_draw

    world = SyncWorld([standard_draw(seed, integrations)], start=end - timedelta(days=days), days=days)
    with Progress(disable=not progress) as shown:
        bar = shown.add_task(f"Syncs of {integrations:,} integrations", total=None)
        return world, run(world, progress=lambda done, total: shown.update(bar, completed=done, total=total))


def write_lake(kind: str, events: "pa.Table", until: datetime = SCORED_AT) -> None:
    """Write the events before a moment as days of the lake."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from crewflow_assets.lake.events import folder_of

    events = events.filter(pc.less(events["occurred_at"], until))
    days = pc.strftime(events["occurred_at"], "%Y-%m-%d")
    for day in pc.unique(days).to_pylist():
        folder = folder_of(kind) / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(events.filter(pc.equal(days, day)), folder / "events.parquet")


def add_integrations(attempts: "pa.Table") -> list[tuple[str, str]]:
    """Make the integrations of attempts known, and return their keys."""
    from sqlalchemy import insert

    from crewflow_assets.store.database import transaction
    from crewflow_assets.store.sync_tables import Integration
    from crewflow_assets.store.tables import Company
    from crewflow_assets.sync_health.integrations import ACTIVE, FRESHNESS_MINUTES

    keys = ["company_id", "integration_id", "system"]
    rows = attempts.group_by(keys).aggregate([("occurred_at", "max"), ("interval_minutes", "max")]).to_pylist()
    companies = [
        {"id": id_, "name": id_, "industry": "general", "created_at": BEGIN}
        for id_ in dict.fromkeys(row["company_id"] for row in rows)
    ]
    known = [
        {name: row[name] for name in keys}
        | {"interval_minutes": row["interval_minutes_max"], "freshness_minutes": FRESHNESS_MINUTES, "state": ACTIVE}
        | {"last_attempt_at": row["occurred_at_max"], "last_ok_at": row["occurred_at_max"], "created_at": BEGIN}
        | {"needs_authorisation": False}
        for row in rows
    ]
    with transaction() as session:
        session.execute(insert(Company), companies)
        session.execute(insert(Integration), known)
    return [(row["company_id"], row["integration_id"]) for row in rows]


def fitted(progress: bool) -> "SyncHealthPredictor":
    """Fit the model on another, smaller world."""
    import pyarrow as pa

    from crewflow_assets.sync_health.events import STATUS_COLUMNS, describe
    from crewflow_assets.sync_health.model import fit
    from crewflow_assets.sync_health.table import as_table, rows_of_table
    from crewflow_assets.twin.sync.history import attempt_table, status_table

    world, made = world_until(SCORED_AT, WORLD_SEED + 1, *TRAINED_ON, progress)
    attempts = attempt_table(world, made)
    attempts = attempts.append_column("lead_minutes", pa.array([LEAD_MINUTES] * len(attempts)))
    described = describe(attempts, status_table(world).select(list(STATUS_COLUMNS)))
    return fit(*rows_of_table(as_table(described)), seed=0)


def _tick(at: datetime, share: float, cause: Any) -> dict[str, Any]:
    from crewflow_assets import clock
    from crewflow_assets.sync_health.contract import RiskFactor
    from crewflow_assets.sync_health.integrations import Key
    from crewflow_assets.sync_health.policy import Risk
    from crewflow_assets.sync_health.watch import Scored, tick

    factor = RiskFactor(code=cause, detail="7 of 9 integrations failed in the last hour", contribution=0.8)

    def score(keys: Sequence[Key], _at: datetime) -> list[Scored]:
        at_risk = round(share * len(keys))
        return [Scored(Risk(0.9 if n < at_risk else 0.05, [factor]), 15.0) for n in range(len(keys))]

    began, cpu = perf_counter(), process_time()
    with clock.fixed(at):
        report = tick(score, at, model_version="benchmark")
    return {"seconds": perf_counter() - began, "cpu_seconds": process_time() - cpu} | asdict(report)


def main(
    integrations: Annotated[int, typer.Option(min=1, help="How many.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Of simulated attempts for scoring.")] = 7,
    database_url: Annotated[str, typer.Option(help="An empty database; by default SQLite, temporary.")] = "",
    json_file: Annotated[Path | None, json_option("Write the records here.")] = None,
) -> None:
    """Time a tick of the watch, and the scoring in it, over many integrations."""
    import pandas as pd

    with TemporaryDirectory(prefix="crewflow-watch-") as home:
        os.environ |= {"CREWFLOW_HOME": home, "CREWFLOW_DATABASE_URL": database_url}
        records = measure(integrations)
    with TemporaryDirectory(prefix="crewflow-watch-") as home:
        os.environ |= {"CREWFLOW_HOME": home, "CREWFLOW_DATABASE_URL": ""}
        get_settings.cache_clear()
        records += measure_scoring(integrations, days)
    columns = [
        "case",
        "integrations",
        "seconds",
        "cpu_seconds",
        "scoring_seconds",
        "actions",
        "withheld",
        "ended",
        "opened",
        "told",
        "commands",
    ]
    print(pd.DataFrame(records)[columns].to_markdown(index=False, floatfmt=".1f"))
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    typer.run(main)
