"""How often experiments find what is not there, and what is: `python -m benchmarks.experiments`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.experiments_figures import (
    Record,
    error_table,
    judge,
    power_table,
    ratio_table,
    rule_table,
    sequence_example,
)
from benchmarks.experiments_world import EFFECTS, NULLS, PART, POWERS, World, draw
from benchmarks.options import json_option

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def measure(worlds: tuple[World, ...], experiments: int, *, seed: int, progress: bool = True) -> list[Record]:
    """Run every world so often, and return what each method concluded."""
    records = []
    for place, world in enumerate(track(worlds, "Worlds", console=console, disable=not progress)):
        parts = []
        for part, begin in enumerate(range(0, experiments, PART)):
            count = min(PART, experiments - begin)
            parts.append(judge(world, draw(world, count, seed=(seed, place, part))))
        records.append(sum(parts[1:], parts[0]))
    return records


@app.command()
def main(
    experiments: Annotated[int, typer.Option(min=20, help="Null experiments of each kind.")] = 2000,
    powered: Annotated[int, typer.Option(min=20, help="Experiments of each effect and size.")] = 500,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    json_file: Annotated[Path | None, json_option("Write one record a world here.")] = None,
    plots: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write the plot of one experiment into this directory.")
    ] = None,
) -> None:
    """Simulate experiments of 30 days that are looked at daily, and count wrong and right conclusions.

    Companies differ, decide at different rates, and join over time; each is one unit. "Ours" is what the platform
    does (crewflow_assets/experiments), beside a t-test of companies looked at daily, the same once at the end, and
    a t-test that takes every decision for independent, once at the end.
    """
    nulls = measure(NULLS, experiments, seed=seed)
    print("Without any difference: experiments in which one was found, % [95 % interval]\n")
    print(error_table(nulls))
    print(
        "\nThe whole stopping rule with two metrics, neither of which differs: experiments with any conclusion, %\n"
    )
    print(rule_table(experiments, seed=seed))
    print("\nSample-ratio tests looked at daily: false alarms, and wrong ratios found\n")
    print(ratio_table(experiments, seed=seed))
    with_effect = measure(tuple(world for effect in EFFECTS for world in POWERS[effect]), powered, seed=seed + 1)
    print("\nWith a difference: experiments in which the better arm was found within 30 days, % [95 % interval]\n")
    print(power_table(with_effect))
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        (plots / "experiments-sequence.png").write_bytes(sequence_example(seed=seed))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(one) for one in (*nulls, *with_effect)], indent=1, default=str))


if __name__ == "__main__":
    app()
