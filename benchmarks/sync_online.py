"""How long one prediction of sync health takes in process while the events of all integrations come in.

Run: ``python -m benchmarks.sync_online [--integrations 10000] [--days 7] [--json FILE]``. Simulated attempts of so
many days lie in the lake; those after are posted as they happen, before each prediction what is new by then.
Posting is not timed; a few events come late. The database is an empty SQLite file in a temporary folder. CPU
milliseconds are what the process used of its cores: where others use them too, they are the steadier figure.
"""

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from benchmarks.options import json_option
from benchmarks.sync_watch import SCORED_AT, WORLD_SEED, add_integrations, fitted, world_until, write_lake
from crewflow_assets.settings import get_settings

if TYPE_CHECKING:
    from crewflow_assets.ingest.event_kinds import EventIn

SECOND = timedelta(seconds=1)
CASES = (
    ("every second", SECOND, 600),
    ("every 15 seconds", 15 * SECOND, 150),
    ("every minute", 60 * SECOND, 60),
)
"""How often a prediction is asked for, and how many are."""
LATE_SHARE, LATEST_MINUTES = 0.02, 30.0
"""Events of this share are posted later than they happened, by up to so long."""


def measure(integrations: int, days: int, progress: bool = True) -> list[dict[str, Any]]:
    """Predict in each case on a migrated, empty database and return a record of each."""
    import pyarrow.compute as pc
    from rich.progress import track

    from crewflow_assets import clock
    from crewflow_assets.store import schema
    from crewflow_assets.sync_health.answering import answer
    from crewflow_assets.sync_health.contract import SyncHealthRequest
    from crewflow_assets.twin.sync.history import attempt_table, status_table

    schema.upgrade()
    end = SCORED_AT + timedelta(days=1)
    world, made = world_until(end, WORLD_SEED, integrations, days + 1, progress)
    attempts = attempt_table(world, made)
    write_lake("sync_attempt", attempts, until=SCORED_AT)
    write_lake("api_status", status_table(world), until=SCORED_AT)
    keys = add_integrations(attempts.filter(pc.less(attempts["occurred_at"], SCORED_AT)))
    events = _by_arrival(attempts)
    predictor, random = fitted(progress), np.random.default_rng(0)

    def timed(key: tuple[str, str]) -> tuple[float, float]:
        began, cpu = perf_counter(), process_time()
        answer(predictor, [SyncHealthRequest(company_id=key[0], integration_id=key[1])])
        return 1000 * (perf_counter() - began), 1000 * (process_time() - cpu)

    at, records, waiting = SCORED_AT, [], next(events)
    with clock.fixed(at):
        first, _ = timed(keys[0])
    for name, step, count in CASES:
        taken, posted = [], 0
        for _ in track(range(count), name, disable=not progress):
            at += step
            due = []
            while waiting[0] <= at:
                due.append(waiting[1])
                waiting = next(events)
            with clock.fixed(at):
                _post(due)
                taken.append(timed(keys[random.integers(len(keys))]))
            posted += len(due)
        found = np.array(taken)
        (p50, cpu_p50), (p99, cpu_p99) = np.quantile(found, [0.5, 0.99], axis=0)
        times = {"p50_ms": p50, "p99_ms": p99, "max_ms": found[:, 0].max(), "first_ms": first}
        times |= {"p50_cpu_ms": cpu_p50, "p99_cpu_ms": cpu_p99}
        records.append({"asked": name, "predictions": count, "events": posted, "integrations": integrations} | times)
    return records


def _by_arrival(attempts: Any) -> Iterator[tuple[datetime, "EventIn"]]:
    """Yield the attempts after the lake's as events, with the moment at which each is posted."""
    import pyarrow.compute as pc

    from crewflow_assets.twin.sync.history import TRANSIT, events_of

    later = attempts.filter(pc.greater_equal(attempts["occurred_at"], SCORED_AT)).sort_by("occurred_at")
    spent = sum((step * count for _, step, count in CASES), timedelta())
    random = np.random.default_rng(1)
    found = []
    for event in events_of("sync_attempt", later, until=SCORED_AT + spent + timedelta(minutes=1)):
        late = random.random() < LATE_SHARE
        delay = timedelta(minutes=LATEST_MINUTES * float(random.random())) if late else TRANSIT
        found.append((event.occurred_at + delay, event))
    yield from sorted(found, key=lambda pair: pair[0])


def _post(events: list["EventIn"]) -> None:
    from crewflow_assets.handlers import EVENT_HANDLERS
    from crewflow_assets.ingest.events import record_events
    from crewflow_assets.store.database import transaction

    if events:
        with transaction() as session:
            record_events(session, events, handlers=EVENT_HANDLERS)


def main(
    integrations: Annotated[int, typer.Option(min=1, help="How many.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Of simulated attempts in the lake.")] = 7,
    json_file: Annotated[Path | None, json_option("Write the records here.")] = None,
) -> None:
    """Time predictions of the next sync among many integrations, while events come in."""
    import pandas as pd

    with TemporaryDirectory(prefix="crewflow-online-") as home:
        os.environ |= {"CREWFLOW_HOME": home, "CREWFLOW_DATABASE_URL": ""}
        get_settings.cache_clear()
        records = measure(integrations, days)
    columns = ["asked", "predictions", "events", "p50_ms", "p99_ms", "max_ms", "p50_cpu_ms", "p99_cpu_ms", "first_ms"]
    print(pd.DataFrame(records)[columns].to_markdown(index=False, floatfmt=".1f"))
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    typer.run(main)
