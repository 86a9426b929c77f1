"""How many sync failures prevention avoids, in a closed loop: `python -m benchmarks.sync_prevention [--draws 50]`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.options import json_option
from benchmarks.sync_prevention_rule import LastError
from crewflow_assets.backtest.fates import (
    CAUSES,
    Due,
    Fate,
    Figures,
    due_syncs,
    fate_of,
    figures,
    more_avoided,
    ratio,
)
from crewflow_assets.backtest.preventing import FRESHNESS_MINUTES, BlindSlowing, Ceiling
from crewflow_assets.backtest.scoring import ModelScorer, fit_on_twin
from crewflow_assets.backtest.watched import Scorer, Watched
from crewflow_assets.evaluation.intervals import Interval
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY, SyncParameters
from crewflow_assets.twin.sync.policy import Policy
from crewflow_assets.twin.sync.world import SyncWorld, run, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)
FIRST_SEED = 6001
"""The worlds asked are of these seeds on, those that the model learns from of others."""
SETTLING_DAYS = 1
"""The last day is stepped through but its syncs are not counted: the freshness limit must be seen to run out."""
LONGEST_SLOWING = 4 * TICKS_PER_DAY

NOTHING, CEILING, FRESH_CEILING, BLIND, RULE, OURS = (
    "no action",
    "ceiling (knows the hidden state)",
    "ceiling that tries sooner",
    "cause-blind slowing, equal delay",
    "rule: as the last error",
    "ours",
)
BEARABLE = {CEILING: 0.1, FRESH_CEILING: 0.85}
console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Training:
    """How much the model learns from: days include the first week, which is history alone."""

    draws: int
    integrations: int
    days: int


TRAINING = Training(draws=20, integrations=16, days=28)


@dataclass(frozen=True, slots=True)
class Loop:
    """The same draws of the world, to be stepped again and again; policies act after ``warm_up`` days."""

    draws: int
    integrations: int
    warm_up: int
    days: int

    @property
    def from_tick(self) -> int:
        """When policies begin to act."""
        return self.warm_up * TICKS_PER_DAY

    def world(self) -> SyncWorld:
        """Return the worlds, not yet begun; parameters are drawn from their ranges."""
        seeds = range(FIRST_SEED, FIRST_SEED + self.draws)
        draws = [standard_draw(seed, self.integrations, draw_parameters(SyncParameters, seed)) for seed in seeds]
        return SyncWorld(draws, start=START, days=self.warm_up + self.days + SETTLING_DAYS)


def step(
    loop: Loop, due: Due | None, progress: Progress, name: str, make: Callable[[SyncWorld], Policy | None]
) -> tuple[Due, Fate, Policy | None]:
    """Step the worlds with a policy; the due syncs are those of the run without one, which comes first."""
    world = loop.world()
    policy = make(world)
    bar = progress.add_task(name, total=world.ticks // TICKS_PER_DAY)
    attempts = run(world, policy, progress=lambda done, _total: progress.update(bar, completed=done))
    until = world.ticks - SETTLING_DAYS * TICKS_PER_DAY
    due = due or due_syncs(attempts, world.fleet.draw, from_tick=loop.from_tick, until_tick=until)
    return due, fate_of(due, attempts, freshness_minutes=FRESHNESS_MINUTES), policy


def blind_slowing(loop: Loop, due: Due, delay: float, progress: Progress) -> tuple[Fate, int]:
    """Return the fate under cause-blind slowing that delays syncs as much, and for how many ticks it slows."""
    low, high = 1, LONGEST_SLOWING
    tried: dict[int, Fate] = {}
    while low <= high:
        ticks = (low + high) // 2
        _, tried[ticks], _ = step(
            loop,
            due,
            progress,
            f"slowing for {ticks} ticks",
            lambda world, ticks=ticks: BlindSlowing(world, from_tick=loop.from_tick, ticks=ticks),  # type: ignore[misc]
        )
        low, high = (ticks + 1, high) if tried[ticks].delay.mean() < delay else (low, ticks - 1)
    best = min(tried, key=lambda ticks: abs(float(tried[ticks].delay.mean()) - delay))
    return tried[best], best


def _text(interval: Interval, form: str = ".1%") -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def print_tables(due: Due, found: Mapping[str, Figures], watched: Mapping[str, Watched], loop: Loop) -> None:
    """Print the tables as Markdown."""
    integration_weeks = np.full(loop.draws, loop.integrations * loop.days / 7)
    print(
        f"{loop.draws} draws of {loop.integrations} integrations, {loop.days} days after {loop.warm_up} of warm-up; "
        f"{len(due.who):,} syncs due. Intervals (95 %) are over draws.\n"
    )
    print(
        "| policy | failed of 1,000 due | failures avoided | of what the ceiling avoids | caused of 1,000 | "
        "not in time of 1,000 | fewer not in time | minutes waited |\n|---|---|---|---|---|---|---|---|"
    )
    for name, one in found.items():
        print(
            f"| {name} | {_text(one.failed, '.1f')} | {_text(one.avoided)} | {_text(one.of_avoidable)} | "
            f"{one.caused.value:.2f} | {one.stale.value:.1f} | {_text(one.stale_avoided)} | {one.delay:.1f} |"
        )
    print("\nFailures avoided, by their cause without action:\n")
    print(f"| policy | {' | '.join(cause.name.lower() for cause in CAUSES)} |\n|---|{'---|' * len(CAUSES)}")
    counts = [f"{(due.cause == cause).sum():,}" for cause in CAUSES]
    print(f"| failures without action | {' | '.join(counts)} |")
    for name, one in found.items():
        print(f"| {name} | {' | '.join(_text(one.by_cause[cause], '.0%') for cause in CAUSES)} |")
    print("\n| policy | alerts a week and integration | actions a week and integration |\n|---|---|---|")
    for name, policy in watched.items():
        alerts = ratio(policy.told.astype(float), integration_weeks)
        actions = ", ".join(f"{kind} {n / integration_weeks.sum():.2f}" for kind, n in policy.actions.items())
        print(f"| {name} | {_text(alerts, '.2f')} | {actions} |")


def write_plot(found: Mapping[str, Figures], folder: Path) -> None:
    """Plot the avoided share of each policy, and ours by cause."""
    from crewflow_assets.evaluation.plots import bar_plot

    folder.mkdir(parents=True, exist_ok=True)
    bars = {name: (i.value, i.low, i.high) for name, one in found.items() for i in [one.avoided] if name != NOTHING}
    image = bar_plot(bars, title="Sync failures avoided", xlabel="share of the failures without action")
    (folder / "sync-prevention.png").write_bytes(image)
    bars = {
        f"{cause.name.lower()}: {name.split(' (')[0]}": (i.value, i.low, i.high)
        for cause in CAUSES
        for name in (OURS, CEILING)
        if name in found
        for i in [found[name].by_cause[cause]]
    }
    image = bar_plot(bars, title="Sync failures avoided, by cause", xlabel="share of the failures without action")
    (folder / "sync-prevention-causes.png").write_bytes(image)


def main(
    draws: Annotated[int, typer.Option(min=2, help="Draws of the world, with parameters from their ranges.")] = 50,
    integrations: Annotated[int, typer.Option(min=2, help="Of each draw.")] = 16,
    days: Annotated[int, typer.Option(min=1, help="Counted, after the warm-up.")] = 7,
    warm_up: Annotated[int, typer.Option(min=1, help="Days before any policy acts.")] = 7,
    json_file: Annotated[Path | None, json_option("Write the figures here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    skip_model: Annotated[
        bool, typer.Option(help="Leave the trained model out: the worlds and the rule alone.")
    ] = False,
) -> None:
    """Step the same draws of the simulated world without action and under each policy, and pair them sync by sync.

    Counted are the syncs that are due when nobody acts. One failed if the attempt that carried it failed, or if
    nothing succeeded within the freshness limit of 4 hours, so that pausing is no way to win. Those not in time, the
    second of these, stand by themselves as well: a failure that the next attempt mends in time is not among them.
    """
    loop = Loop(draws, integrations, warm_up, days)
    watched: dict[str, Watched] = {}
    with Progress(console=console) as progress:
        due, nothing, _ = step(loop, None, progress, NOTHING, lambda _world: None)
        fates = {NOTHING: nothing}
        for name, bearable in BEARABLE.items():
            _, fates[name], _ = step(
                loop,
                due,
                progress,
                name,
                lambda world, bearable=bearable: Ceiling(world, from_tick=loop.from_tick, bearable=bearable),  # type: ignore[misc]
            )
        scorers: dict[str, Callable[[SyncWorld], Scorer]] = {RULE: LastError}
        model: ModelScorer | None = None
        if not skip_model:
            bar = progress.add_task("training worlds", total=TRAINING.days)
            predictor = fit_on_twin(
                TRAINING.draws,
                TRAINING.integrations,
                TRAINING.days,
                START,
                lambda done, _total: progress.update(bar, completed=done),
            )

            def ours(world: SyncWorld) -> ModelScorer:
                nonlocal model
                model = ModelScorer(world, predictor, from_tick=loop.from_tick)
                return model

            scorers[OURS] = ours
        for name, scorer in scorers.items():
            _, fates[name], policy = step(
                loop,
                due,
                progress,
                name,
                lambda world, scorer=scorer: Watched(world, scorer(world), from_tick=loop.from_tick),  # type: ignore[misc]
            )
            assert isinstance(policy, Watched)
            watched[name] = policy
        last = list(watched)[-1]
        fates[BLIND], ticks = blind_slowing(loop, due, float(fates[last].delay.mean()), progress)
    found = {name: figures(due, fate, nothing=fates[NOTHING], ceiling=fates[CEILING]) for name, fate in fates.items()}
    print_tables(due, found, watched, loop)
    difference = None if skip_model else more_avoided(due, fates[OURS], fates[RULE])
    if difference is not None:
        print(f"\nOurs avoids {_text(difference)} more of the failures without action than the rule, paired by draw.")
    if model is not None:
        print(
            f"\nOf {model.looked:,} due syncs described to check, {model.missed} at risk would have been passed over."
        )
    print(f"\nCause-blind slowing slows after each failure for {ticks / 4:g} hours.")
    if json_file is not None:
        records = {name: asdict(one) for name, one in found.items()}
        more = None if difference is None else asdict(difference)
        json_file.write_text(json.dumps(records | {"ours more than the rule": more}, indent=1))
    if plots is not None:
        write_plot(found, plots)


if __name__ == "__main__":
    typer.run(main)
