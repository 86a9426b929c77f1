"""Failures foreseen in the simulated world, beside the ceiling: `python -m benchmarks.sync_health_twin`."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.options import json_option
from benchmarks.sync_health_limits import LimitOutcomes, is_stopped, outcomes, print_coverage
from benchmarks.sync_health_tables import Results, print_results
from crewflow_assets.arrays import Bools, Floats, Ints, Objects, Singles
from crewflow_assets.backtest.moments import tables
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.sync_health.baselines import fit_baselines
from crewflow_assets.sync_health.contract import RateLimitForecast
from crewflow_assets.sync_health.evaluation import ROWSETS, Judged, as_record, figures, rows_of
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.features import FEATURES, Described, columns_of, feature_rows
from crewflow_assets.sync_health.limits import forecast
from crewflow_assets.sync_health.model import fit_model
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.sync.attempts import Attempts, joined
from crewflow_assets.twin.sync.history import names_of
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY, SyncParameters
from crewflow_assets.twin.sync.world import SyncWorld, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)
FIRST_SEED = 3001
"""No other world that is learnt from or measured on has these seeds."""
WARM_UP_DAYS = 7
TEST_SHARE = 0.25
OURS, CEILING = "ours", "ceiling (knows the hidden state)"
SEED = 7
console = Console(stderr=True)


@dataclass(frozen=True, slots=True, eq=False)
class Lived:
    """A world's attempts after the warm-up, described as of the beginning of their ticks; one element each.

    ``stopped`` is not by attempt: whose day's calls were used up, by tick and integration.
    """

    described: Described
    rows: Singles
    failed: Floats
    ceiling: Floats
    who: Ints
    tick: Ints
    draw: Ints
    entity: Objects
    stopped: Bools


def live(draws: int, integrations: int, days: int, progress: Progress) -> Lived:
    """Let worlds of parameters drawn from their ranges run without action, and describe each attempt."""
    seeds = range(FIRST_SEED, FIRST_SEED + draws)
    each = [standard_draw(seed, integrations, draw_parameters(SyncParameters, seed)) for seed in seeds]
    world = SyncWorld(each, start=START, days=days)
    bar = progress.add_task("the world", total=world.ticks)
    parts: list[Attempts] = []
    stopped = []
    for _ in range(world.ticks):
        world.begin_tick()
        stopped.append(is_stopped(world))
        parts.append(world.finish_tick())
        progress.advance(bar)
    attempts = joined(parts)
    progress.add_task("describing", total=None)
    table = describe(*tables(world, attempts))
    name = np.array(names_of(world)[0], dtype=object)
    places = {
        f"{name[who]}-sync-{tick}": n for n, (who, tick) in enumerate(zip(attempts.who, attempts.tick, strict=True))
    }
    order = np.array([places[event] for event in table["event_id"].to_pylist()])
    counted = attempts.tick[order] >= WARM_UP_DAYS * TICKS_PER_DAY
    described = {column: values[counted] for column, values in columns_of(table).items()}
    mine = attempts.where(order[counted])
    return Lived(
        described=described,
        rows=feature_rows(described),
        failed=described["failed"],
        ceiling=mine.ceiling.astype(float),
        who=mine.who,
        tick=mine.tick,
        draw=world.fleet.draw[mine.who],
        entity=name[mine.who],
        stopped=np.array(stopped),
    )


def foreseen(lived: Lived, progress: Progress) -> dict[str, Results]:
    """Fit on the earlier time of three quarters of the integrations; judge later time, of these and of the others."""
    later = lived.tick > np.quantile(lived.tick, 1 - TEST_SHARE)
    unseen = np.array([fold_of(str(entity)) == "test" for entity in lived.entity])
    chosen = ~later & ~unseen
    training = lived.rows[chosen], lived.failed[chosen], lived.tick[chosen].astype(float)
    progress.add_task(f"fitting on {chosen.sum():,} syncs", total=None)
    methods = {OURS: fit_model(*training, FEATURES, seed=SEED).probability}
    methods["its trees alone"] = fit_model(*training, FEATURES, seed=SEED, parts=("trees",)).probability
    methods |= fit_baselines(*training, seed=SEED)
    parts = {
        "Later time, integrations trained on": later & ~unseen,
        "Later time, integrations never seen": later & unseen,
    }
    found: dict[str, Results] = {}
    for title, asked in parts.items():
        rows, failed, entity = lived.rows[asked], lived.failed[asked], lived.entity[asked]
        said = {method: Judged(np.asarray(says(rows), float), failed, entity) for method, says in methods.items()}
        said[CEILING] = Judged(lived.ceiling[asked], failed, entity)
        found[title] = {part: {n: one.only(rows_of(part, rows)) for n, one in said.items()} for part in ROWSETS}
    return found


def limit_forecasts(lived: Lived) -> tuple[list[RateLimitForecast], LimitOutcomes]:
    """Return forecasts of limits a day and what became of them, without those of limits that are reached already."""
    reported = np.flatnonzero(~np.isnan(lived.described["calls_left_1"]))
    made = {place: forecast(lived.described, place) for place in reported.tolist()}
    asked = np.array([n for n, one in made.items() if one and not lived.stopped[lived.tick[n], lived.who[n]]])
    found = outcomes(lived.stopped, lived.who[asked], lived.tick[asked], lived.draw[asked])
    return [one for n in asked if (one := made[n]) is not None], found


def main(
    draws: Annotated[int, typer.Option(min=2, help="Draws of the world, with parameters from their ranges.")] = 16,
    integrations: Annotated[int, typer.Option(min=4, help="Of each draw.")] = 16,
    days: Annotated[int, typer.Option(min=15, help="Of each; the first week is history alone.")] = 35,
    json_file: Annotated[Path | None, json_option("Write the records here.")] = None,
) -> None:
    """Fit on three quarters of the time and of the integrations, and foresee the rest, beside the ceiling.

    The ceiling is what one would say who knew the hidden state as the tick begins. Intervals are bootstrapped by
    integration, those of the rate-limit forecast by draw.
    """
    with Progress(console=console, transient=True) as progress:
        lived = live(draws, integrations, days, progress)
        found = foreseen(lived, progress)
    print(
        f"{draws} draws of {integrations} integrations, {days} days; {len(lived.who):,} syncs after the first week."
    )
    for title, results in found.items():
        print_results(results, title=title)
    forecasts, became = limit_forecasts(lived)
    print(f"\n## The rate-limit forecast\n\n{len(forecasts):,} forecasts at {len(lived.who):,} syncs.\n")
    print_coverage(forecasts, became)
    if json_file is not None:
        records = [
            {"split": title, **as_record(part, name, figures(judged))}
            for title, results in found.items()
            for part, methods in results.items()
            for name, judged in methods.items()
        ]
        json_file.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    typer.run(main)
