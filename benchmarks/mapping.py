"""How well names find their place in a chart, on real lists: `python -m benchmarks.mapping --data DIR`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.mapping_data import NO_TASK, Task, discover, splits
from benchmarks.mapping_figures import FoldResult, gain, judge, record
from benchmarks.mapping_methods import Method, baselines, fit_confidence
from benchmarks.mapping_ours import Ours, OursTwinOnly, Workbench
from benchmarks.mapping_simulated import PRIOR_WORLDS, simulated
from benchmarks.mapping_tables import print_mistakes, print_tables
from benchmarks.mapping_world import Simulated
from benchmarks.options import json_option

REPEATS, QUICK_REPEATS = 3, 1
WORLD, QUICK_WORLD = 30, 6
QUICK_FOLDS = 2
WARM = "+own25"

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def run_task(task: Task, world: Simulated | None, *, quick: bool, progress: Progress) -> Iterator[FoldResult]:
    """Hold every firm out, cold and then with a quarter of its codes labelled; quick: the largest firms, once."""
    bench = Workbench(task) if world is None else Workbench(task, world.predictor, world.prior)
    ours: list[Method] = [Ours(bench)]
    if world is not None:
        ours.append(OursTwinOnly(bench, world.predictor))
    regimes = {False: [*baselines(task, warm=False), *ours], True: [*baselines(task, warm=True), *ours]}
    folds, repeats = task.folds, REPEATS
    if quick:
        folds, repeats = sorted(folds, key=lambda fold: -int((task.firms == fold).sum()))[:QUICK_FOLDS], QUICK_REPEATS
    bar = progress.add_task(task.name, total=2 * len(folds))
    for fold in folds:
        for warm, methods in regimes.items():
            result = run_fold(task, methods, fold, repeats=repeats if warm else 0)
            progress.advance(bar)
            if result is not None:
                yield result


def run_fold(task: Task, methods: list[Method], fold: str, *, repeats: int) -> FoldResult | None:
    """Ask every method the same codes with the same labels; None if the firm is too small to be asked.

    Args:
        task: The task.
        methods: Ours are those whose names begin so; the first of them is compared with the best baseline.
        fold: The firm held out.
        repeats: 0 for cold, else how often another quarter of its codes is labelled.
    """
    given = [split for split in splits(task, fold, repeats=repeats) if len(split.asked)]
    if not given:
        return None
    asked = {}
    for method in methods:
        confidence = fit_confidence(task, *method.practice(fold, repeats > 0))
        asked[method.name] = judge(task, confidence, ((split, method.scores(split)) for split in given))
    dataset = task.name + (WARM if repeats else "")
    records = tuple(record(task, dataset, fold, name, one) for name, one in asked.items())
    best = max((r for r in records if not r.is_ours), key=lambda r: r.top1).method
    mine = next(r.method for r in records if r.is_ours)
    return FoldResult(task, records, asked, best, gain(task, asked[mine], asked[best]))


@app.command()
def main(
    data: Annotated[
        Path, typer.Option(help="Directory of <x>_to_<y>.csv and targets_<y>.csv.", exists=True, file_okay=False)
    ],
    json_file: Annotated[Path | None, json_option("Write one record a method and firm here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    only: Annotated[
        str | None, typer.Option(help="Run this data set alone, such as company_to_16_divisions.")
    ] = None,
    mistakes: Annotated[int, typer.Option(min=0, help="Print so many of the surest mistakes of each data set.")] = 0,
    quick: Annotated[
        bool, typer.Option(help="The two largest firms, one repeat, a small simulated world: a smoke run.")
    ] = False,
) -> None:
    """Compare mapping methods on real lists: each firm (or group) is held out in turn.

    Cold, a method sees other firms' labels alone; "+own25" adds a random quarter of the firm's own codes and asks the
    rest. Every method sees the same labels. Differences are paired, with intervals bootstrapped by section.
    """
    tasks, skipped = discover(data, only=only)
    for reason in skipped:
        console.print(f"skipped {reason}")
    if only is not None and not (data / f"{only}.csv").exists():
        there = ", ".join(sorted(file.stem for file in data.glob("*_to_*.csv")))
        console.print(f"{data} holds no data set {only!r}; there are {there or 'none'}")
        raise typer.Exit(2)
    if not tasks:
        console.print(NO_TASK.format(data))
        raise typer.Exit(2)
    results: list[FoldResult] = []
    with Progress(console=console, transient=True) as progress:
        count = QUICK_WORLD if quick else WORLD
        bar = progress.add_task("training on simulated companies", total=count)
        worlds = PRIOR_WORLDS[:1] if quick else PRIOR_WORLDS
        world = simulated(count, lambda done: progress.update(bar, completed=done), worlds=worlds)
        while tasks:
            found = list(run_task(tasks.pop(0), world, quick=quick, progress=progress))
            print_tables(found)
            results += found
            if json_file is not None:  # after each data set, so that an interrupted run leaves what it has
                json_file.write_text(
                    json.dumps([r.as_json() for result in results for r in result.records], indent=1)
                )
    if mistakes:
        print_mistakes(results, mistakes)
    if plots is not None:
        from benchmarks.mapping_plots import write_plots

        write_plots(results, plots)


if __name__ == "__main__":
    app()
