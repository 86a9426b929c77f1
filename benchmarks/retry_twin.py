"""Policies of retrying in the simulated world, and their frontiers: `python -m benchmarks.retry_twin`."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.options import json_option
from benchmarks.retry_twin_calibration import Calibration, calibration, reliability_image
from benchmarks.retry_twin_facts import passed, print_facts
from benchmarks.retry_twin_figures import CAUSES, Ahead, Figures, Sums, ahead, figures, sums_of, waits_for_people
from benchmarks.retry_twin_plots import frontier_image
from crewflow_assets.backtest.retries import LearnedRetries
from crewflow_assets.backtest.retry_worlds import FIRST_SEED, TRAINING, Size, counted, fit_on_twin, retry_world
from crewflow_assets.evaluation.intervals import Interval
from crewflow_assets.retry_strategy.model import RetryPredictor
from crewflow_assets.retry_strategy.plan import Values
from crewflow_assets.twin.retries.ceiling import Ceiling
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import Aws, Fixed, Never
from crewflow_assets.twin.retries.policy import RetryPolicy
from crewflow_assets.twin.retries.world import RetryWorld

Settings = dict[str, Callable[[RetryWorld], RetryPolicy]]

NEVER, FIXED, AWS, OURS, HURRIED, RESENT, RESENT_HURRIED, CEILING, NO_PEOPLE = (
    "never",
    "fixed",
    "AWS",
    "ours",
    "ours, for an hour",
    "ours, resent when mended",
    "ours, resent, for an hour",
    "ceiling",
    "ceiling without people",
)
OTHERS = (FIXED, AWS)
CALLS = (
    (0.002, 7),
    (0.005, 7),
    (0.02, 7),
    (0.05, 7),
    (0.1, 7),
    (0.02, 4),
    (0.02, 3),
    (0.05, 3),
    (0.02, 2),
    (0.05, 2),
)
"""Cost of a retry where a success is worth 1, and retries at most: the knobs of ours."""
HURRIES = ((0.1, 7), (0.4, 7), (0.1, 4), (0.4, 4), (0.02, 3), (0.2, 3), (0.02, 2), (0.2, 2), (0.02, 1))
"""Cost of an hour's waiting, and retries at most, where a success after the first hour is worth nothing."""
SURE = (0.2, 0.4, 0.6, 0.8, 0.95)
console = Console(stderr=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def baseline_settings() -> dict[str, Settings]:
    """Return the settings of the policies that learn nothing."""
    fixed: Settings = {
        f"{retries} × {_duration(base)}": lambda _world, base=base, retries=retries: Fixed(base, retries)  # type: ignore[misc]
        for base, retries in ((1, 3), (30, 3), (300, 3), (900, 3), (3600, 3), (300, 1), (300, 5), (900, 5))
    }
    aws: Settings = {"2 × 1 s, at most 20 s": Aws}
    for base, retries in ((60, 4), (300, 4), (600, 2), (600, 4), (1800, 2), (1800, 4), (3600, 3)):
        aws[f"{retries} × {_duration(base)}"] = partial(Aws, base_seconds=base, retries=retries, longest_seconds=None)
    ceilings: Settings = {f"at {sure:.0%}": partial(Ceiling, sure=sure) for sure in SURE}
    limited: Settings = {f"at {sure:.0%}": partial(Ceiling, sure=sure, for_people=False) for sure in SURE}
    return {NEVER: {"": lambda _world: Never()}, FIXED: fixed, AWS: aws, CEILING: ceilings, NO_PEOPLE: limited}


def our_settings(predictor: RetryPredictor) -> dict[str, Settings]:
    """Return the settings of the learned policy, without and with resending what people have mended."""

    def setting(
        call: float, hour: float, retries: int, by: float = math.inf, *, resends: bool
    ) -> Callable[[RetryWorld], RetryPolicy]:
        values = Values(call=call, waiting=hour, exploration=0.0, most_attempts=retries + 1, deadline_hours=by)
        return lambda world: LearnedRetries(world, predictor, values, resends=resends)

    usual, found = Values().waiting, {}
    for resends, (day, hour) in ((False, (OURS, HURRIED)), (True, (RESENT, RESENT_HURRIED))):
        found[day] = {
            f"≤ {n} retries, each costs {call:g}": setting(call, usual, n, resends=resends) for call, n in CALLS
        }
        found[hour] = {
            f"≤ {n} retries, an hour costs {cost:g}": setting(0.005, cost, n, 1.0, resends=resends)
            for cost, n in HURRIES
        }
    return found


def _text(interval: Interval, form: str = ".1%") -> str:
    if math.isnan(interval.value):
        return "–"
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def _whole(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"


def print_tables(found: Mapping[str, Mapping[str, Sums]], size: Size) -> None:
    """Print figures, causes and who comes out ahead as Markdown."""
    failures = int(found[NEVER][""].failures.sum())
    print(
        f"{size.draws} draws of {size.integrations} integrations, {size.days} days; {failures:,} failed calls. "
        "Intervals (95 %) are over draws.\n"
    )
    print(
        "| policy | setting | done in 1 h | done in 24 h | of the retried | successes a retry | retries a failure | "
        "look-ups a failure | duplicates of 1,000 | median minutes |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, settings in found.items():
        for setting, sums in settings.items():
            one: Figures = figures(sums)
            print(
                f"| {name} | {setting} | {_text(one.within_1h)} | {_text(one.within_24h)} | "
                f"{_share(one.of_retried.value)} | {_text(one.per_retry)} | {_text(one.retries, '.2f')} | "
                f"{one.look_ups.value:.3f} | {one.duplicates.value:.2f} | {_whole(one.minutes)} |"
            )
    print("\nDone within 24 hours (retries a failure), by the cause of the first failure:\n")
    print(f"| policy | setting | {' | '.join(cause.name.lower() for cause in CAUSES)} |")
    print(f"|---|---|{'---|' * len(CAUSES)}")
    for name, settings in found.items():
        for setting, sums in settings.items():
            cells = [f"{sums.by_cause[cause][0]:.0%} ({sums.by_cause[cause][1]:.1f})" for cause in CAUSES]
            print(f"| {name} | {setting} | {' | '.join(cells)} |")


def compared(
    found: Mapping[str, Mapping[str, Sums]], ours: Sequence[str] = (OURS, HURRIED)
) -> dict[str, dict[str, dict[int, Ahead]]]:
    """Return the settings of ours against each setting of the others, for an hour and for a day."""
    mine = [sums for name in ours for sums in found[name].values()]
    return {
        name: {setting: {h: ahead(mine, sums, h) for h in (1, 24)} for setting, sums in found[name].items()}
        for name in OTHERS
    }


def print_comparison(against: Mapping[str, Mapping[str, Mapping[int, Ahead]]]) -> None:
    """Print who comes out ahead as Markdown."""
    print("| against | setting | done in 1 h | retries | done in 24 h | retries |\n|---|---|---|---|---|---|")
    for name, settings in against.items():
        for setting, one in settings.items():
            cells = [f"{_text(one[h].done, '+.1%')} | {_text(one[h].retries, '+.2f')}" for h in (1, 24)]
            print(f"| {name} | {setting} | {' | '.join(cells)} |")


def print_calibration(found: Mapping[str, Calibration]) -> None:
    """Print how true the probabilities are as Markdown."""
    print("\n| probability of success | retries | share that succeeded | ECE | Brier | of the base rate |")
    print("|---|---|---|---|---|---|")
    for name, one in found.items():
        print(
            f"| {name} | {one.rows:,} | {one.base_rate:.3f} | {_text(one.ece, '.3f')} | {_text(one.brier, '.4f')} | "
            f"{one.base_brier:.4f} |"
        )


def _as_json(found: Mapping[str, Mapping[str, Sums]]) -> dict[str, dict[str, object]]:
    return {name: {setting: asdict(figures(one)) for setting, one in each.items()} for name, each in found.items()}


def _ahead_as_json(against: Mapping[str, Mapping[str, Mapping[int, Ahead]]]) -> dict[str, object]:
    return {
        name: {
            setting: {f"{hours}h": asdict(one) for hours, one in each.items()} for setting, each in settings.items()
        }
        for name, settings in against.items()
    }


def write_plots(found: Mapping[str, Mapping[str, Sums]], told: Mapping[str, Calibration], folder: Path) -> None:
    """Write the frontiers and the reliability as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = {
        OURS: [*found[OURS].values(), *found[HURRIED].values()],
        RESENT: [*found[RESENT].values(), *found[RESENT_HURRIED].values()],
    }
    shown |= {name: list(found[name].values()) for name in (FIXED, AWS, CEILING, NO_PEOPLE)}
    for hours in (1, 24):
        (folder / f"retry-twin-{hours}h.png").write_bytes(
            frontier_image({n: list(map(figures, each)) for n, each in shown.items()}, hours)
        )
    (folder / "retry-twin-calibration.png").write_bytes(reliability_image(told))


def main(
    draws: Annotated[int, typer.Option(min=2, help="Draws of the world, with parameters from their ranges.")] = 50,
    integrations: Annotated[int, typer.Option(min=2, help="Of each draw.")] = 8,
    days: Annotated[int, typer.Option(min=1, help="Whose failures count.")] = 7,
    training_draws: Annotated[int, typer.Option(min=1, help="Draws that the model learns from.")] = TRAINING.draws,
    json_file: Annotated[Path | None, json_option("Write the figures here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
) -> None:
    """Let every policy retry the same failed calls of the simulated world, and pair them draw by draw.

    A call is done if a retry succeeds within the time after its first failure; one that was given up is not. Each
    policy is run with several settings of its knob: its frontier.
    """
    size = Size(draws, integrations, days)
    with Progress(console=console) as progress:
        bar = progress.add_task("worlds")
        world = retry_world(size, FIRST_SEED, lambda done, total: progress.update(bar, completed=done, total=total))
        chosen = counted(world)
        bar = progress.add_task("fitting the model", total=1)
        predictor, rows = fit_on_twin(Size(training_draws, TRAINING.integrations, TRAINING.days))
        progress.update(bar, completed=1)
        policies = baseline_settings() | our_settings(predictor)
        bar = progress.add_task("playing", total=sum(map(len, policies.values())))
        found: dict[str, dict[str, Sums]] = {name: {} for name in policies}
        passing: dict[str, dict[str, Sums]] = {name: {} for name in policies}
        for name, settings in policies.items():
            for setting, make in settings.items():
                played = play(world, make(world))
                found[name][setting] = sums_of(world, played, chosen)
                passing[name][setting] = sums_of(world, played, chosen & ~waits_for_people(world))
                progress.advance(bar)
        told, facts = calibration(world, predictor), passed(world, chosen)
    against, against_passing = compared(found), compared(passing)
    against_resent = compared(found, (RESENT, RESENT_HURRIED))
    print_tables(found, size)
    print("\nWhat ours does more than each, its settings mixed on the other half of the draws to as many retries:\n")
    print_comparison(against)
    print("\nThe same where ours resends what people have mended:\n")
    print_comparison(against_resent)
    print(
        "\nWithout resending, and without the failures that a person has to mend (ended grants, refused records):\n"
    )
    print_comparison(against_passing)
    print_calibration(told)
    print_facts(facts)
    print(f"\nThe model learnt from {rows:,} retries of {training_draws} other draws; the better kind was kept:")
    print(", ".join(f"{kind} {loss:.4f}" for kind, loss in predictor.compared.items()), "(log loss).")
    if json_file is not None:
        content = {
            "figures": _as_json(found),
            "figures_without_people": _as_json(passing),
            "ahead": _ahead_as_json(against),
            "ahead_resent": _ahead_as_json(against_resent),
            "ahead_without_people": _ahead_as_json(against_passing),
            "passed": facts,
            "calibration": {name: one.as_dict() for name, one in told.items()},
        }
        json_file.write_text(json.dumps(content, indent=1))
    if plots is not None:
        write_plots(found, told, plots)


if __name__ == "__main__":
    typer.run(main)
