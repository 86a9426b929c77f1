"""The mapping benchmark on small sets, five firms of some 70 codes: `python -m benchmarks.mapping_small --data DIR`.

Two kinds of small sets are drawn: parts of the real lists, and simulated firms that file into one contractor's chart,
each by its own convention. The chart is none that the simulated training companies have, but it is of their kind.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.mapping import WARM, WORLD, run_task
from benchmarks.mapping_data import NO_TASK, Task, discover, held_by_one
from benchmarks.mapping_figures import FoldResult
from benchmarks.mapping_simulated import CODES, FIRMS, one_chart, simulated
from crewflow_assets.cost_code_mapping.chart import Chart

WIDTH = 100
FEWEST = 20  # codes of a firm that is drawn
FIRST_WORLD = 401  # seeds of the training and the test companies and of the prior are others

console = Console(stderr=True)


def large_firms(task: Task) -> list[str]:
    """Return the firms of a task that are large enough to be drawn."""
    return [firm for firm in task.folds if np.sum(task.firms == firm) >= FEWEST]


def drawn(task: Task, seed: int) -> Task:
    """Draw firms of a task and codes of each; the chart keeps what they accept and other targets, WIDTH in all."""
    rng = np.random.default_rng(seed)
    firms = rng.permutation(large_firms(task))[:FIRMS]
    parts = [np.sort(rng.permutation(np.flatnonzero(task.firms == firm))[:CODES]) for firm in firms]
    rows = np.concatenate(parts)
    accepted = sorted(frozenset().union(*(task.accepted[row] for row in rows)))
    others = rng.permutation(np.setdiff1d(np.arange(len(task.chart)), accepted))
    kept = sorted([*accepted, *others[: max(0, WIDTH - len(accepted))].tolist()])
    place = {target: i for i, target in enumerate(kept)}
    return replace(
        task,
        chart=Chart([task.chart.targets[target] for target in kept]),
        queries=tuple(task.queries[row] for row in rows),
        labels=np.array([place[label] for label in task.labels[rows]], np.int64),
        accepted=tuple(frozenset(place[target] for target in task.accepted[row]) for row in rows),
        firms=task.firms[rows],
        sections=task.sections[rows],
        unseen=held_by_one([task.queries[row].source.name for row in rows], task.firms[rows]),
    )


def small_sets(tasks: list[Task], draws: int) -> Iterator[Task]:
    """Yield the simulated sets and then the drawn ones, with the list that each is of as its name."""
    for draw in range(draws):
        yield one_chart(FIRST_WORLD + draw)
    for task in tasks:
        for draw in range(draws):
            yield drawn(task, draw)


def print_small(results: list[FoldResult]) -> None:
    """Print the mean over the firms of all draws, and how often ours is not behind the best baseline of the firm."""
    for dataset in dict.fromkeys(result.dataset for result in results):
        folds = [result for result in results if result.dataset == dataset]
        print(f"\n{dataset}: {len(folds)} held-out firms\n\n| method | top-1 | top-5 |\n|---|---|---|")
        for method in [record.method for record in folds[0].records]:
            asked = [record for result in folds for record in result.records if record.method == method]
            print(f"| {method} | {np.mean([r.top1 for r in asked]):.3f} | {np.mean([r.top5 for r in asked]):.3f} |")
        best = np.mean([result.top1(result.best) for result in folds])
        ahead, level = (np.mean([sign(result.gain.value, 0) for result in folds]) for sign in (np.greater, np.equal))
        print(f"\nThe best baseline of each firm, picked afterwards: {best:.3f}")
        print(f"Ours is ahead of it on a share of {ahead:.2f}, level with it on {level:.2f}.")


def main(
    data: Annotated[
        Path | None, typer.Option(help="Directory as for benchmarks.mapping; without it, simulated firms alone.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Small sets to draw of each list.")] = 5,
    world: Annotated[int, typer.Option(min=2, help="Simulated companies to train on.")] = WORLD,
) -> None:
    """Compare mapping methods on small sets, cold and with a quarter of a firm's codes labelled."""
    tasks, skipped = discover(data) if data is not None else ([], [])
    drawable = [task for task in tasks if large_firms(task)]
    skipped += [f"{task.name}: no firm has {FEWEST} codes or more" for task in tasks if task not in drawable]
    for reason in skipped:
        console.print(f"skipped {reason}")
    if data is not None and not tasks:
        console.print(NO_TASK.format(data))
        raise typer.Exit(2)
    results: list[FoldResult] = []
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("training on simulated companies", total=world)
        taught = simulated(world, lambda done: progress.update(bar, completed=done))
        for task in small_sets(drawable, draws):
            results += run_task(task, taught, quick=False, progress=progress)
    print_small(sorted(results, key=lambda result: result.dataset.endswith(WARM)))


if __name__ == "__main__":
    typer.run(main)
