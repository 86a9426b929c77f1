"""What the retry endpoint answers to real error bodies, to be read by eye: `python -m benchmarks.retry_bodies`.

The model is fitted on the retries of a simulated installation; the bodies are public (`retry_bodies.csv`).
"""

import csv
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.options import json_option

BODIES = Path(__file__).with_name("retry_bodies.csv")
NOON = datetime(2026, 3, 2, 14, tzinfo=UTC)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
INTEGRATIONS, DAYS, SEED = 48, 60, 7
SHOWN = 110

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def read_bodies() -> list[dict[str, str]]:
    """Return the bodies with the columns system, status, retry_after, write, key, body, source."""
    with BODIES.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def request_of(row: dict[str, str]) -> Any:
    """Return the request that a caller would make of a body: its first failure."""
    from crewflow_assets.retry_strategy.contract import RetryRequest

    return RetryRequest(
        integration_type=row["system"],
        error_type="api_error",
        error_message=row["body"],
        previous_attempts=1,
        time_of_day=NOON.hour,
        api_latency_24h=800.0,
        status_code=int(row["status"]) if row["status"] else None,
        retry_after_seconds=float(row["retry_after"]) if row["retry_after"] else None,
        write=row["write"] == "yes",
        idempotency_key="key-1" if row["key"] == "yes" else None,
    )


def fitted() -> Any:
    """Fit on the retries of a simulated installation, those of its training fold and time."""
    from crewflow_assets.backtest.retries import feature_rows
    from crewflow_assets.retry_strategy.lifecycle import training_rows
    from crewflow_assets.retry_strategy.model import fit
    from crewflow_assets.twin.randomness import Randomness
    from crewflow_assets.twin.retries.parameters import DEFAULTS
    from crewflow_assets.twin.retries.play import play
    from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Explorer
    from crewflow_assets.twin.retries.record import record
    from crewflow_assets.twin.retries.world import RetryWorld
    from crewflow_assets.twin.sync.fleet import draw_customers
    from crewflow_assets.twin.sync.world import Draw, SyncWorld

    customers = tuple(draw_customers(Randomness(SEED), INTEGRATIONS))
    world = RetryWorld(record(SyncWorld([Draw(SEED, customers)], start=BEGIN, days=DAYS)), [DEFAULTS])
    log = play(world, Explorer(world), horizon_hours=EXPLORED_HOURS).log
    return fit(training_rows(feature_rows(world, log)), seed=SEED)


def answers(predictor: Any, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Answer every body on an empty installation in a temporary folder, without exploration."""
    from crewflow_assets import clock
    from crewflow_assets.retry_strategy.answering import answer
    from crewflow_assets.settings import get_settings
    from crewflow_assets.store import schema

    with TemporaryDirectory() as home:
        os.environ |= {"CREWFLOW_HOME": home, "CREWFLOW_DATABASE_URL": "", "CREWFLOW_RETRY_EXPLORATION": "0"}
        get_settings.cache_clear()
        schema.upgrade()
        with clock.fixed(NOON):
            return [one.fields for one in answer(predictor, [request_of(row) for row in rows])]


@app.command()
def main(
    json_file: Annotated[Path | None, json_option("Write one record a body.")] = None,
) -> None:
    """Print the answers as a Markdown table."""
    rows = read_bodies()
    with console.status("simulating an installation's retries, and fitting on them"):
        predictor = fitted()
    found = answers(predictor, rows)
    print("| # | system | status | body | class | answer | why |")
    print("|---|---|---|---|---|---|---|")
    for number, (row, one) in enumerate(zip(rows, found, strict=True), start=1):
        body = row["body"] if len(row["body"]) <= SHOWN else row["body"][:SHOWN] + "…"
        note = " (write)" if row["write"] == "yes" and row["key"] == "no" else ""
        note = " (write with key)" if row["key"] == "yes" else note
        what = (
            f"retry in {one['optimal_delay']} s, {one['max_attempts']} in all, p {one['success_probability']:.2f}"
            if one["should_retry"]
            else one["alternative"]
        )
        cells = (row["system"], (row["status"] or "none") + note, f"`{body.replace('|', '/')}`")
        said = f"{one['error_class']} ({one['classified_by']})"
        print(f"| {number} | {' | '.join(cells)} | {said} | {what} | {one['reason']} |")
    if json_file is not None:
        json_file.write_text(json.dumps([row | one for row, one in zip(rows, found, strict=True)], indent=1))


if __name__ == "__main__":
    app()
