"""How far conflicts need no person, on real decisions: `python -m benchmarks.conflicts --data DIR`."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.conflicts_data import Dataset, read_datasets
from benchmarks.conflicts_figures import Judged, judge, print_summary, print_tables
from benchmarks.conflicts_methods import METHODS, OURS, PLAIN, Asked, Method
from benchmarks.options import json_option
from crewflow_assets.conflict_resolution.model import CLASSES, folds_of

FOLDS = 5

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def ask_all(data: Dataset, methods: dict[str, Method], *, seed: int, progress: Progress) -> dict[str, Asked]:
    """Hold each fifth of the groups out, learn from the others, and ask every method of it."""
    fold = folds_of(data.clusters, seed=seed, folds=FOLDS)
    found = {name: Asked(np.empty((len(data), CLASSES)), np.zeros(len(data), bool)) for name in methods}
    bar = progress.add_task(data.name, total=FOLDS * len(methods))
    for held_out in range(FOLDS):
        known, asked = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        for name, method in methods.items():
            said = method(data, known, asked, seed)
            found[name].probability[asked], found[name].automatic[asked] = said.probability, said.automatic
            progress.advance(bar)
    return found


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Directory of conflicts.parquet.", exists=True, file_okay=False)],
    json_file: Annotated[Path | None, json_option("Write one record a data set and method here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    only: Annotated[str | None, typer.Option(help="Run this data set alone.")] = None,
    groups: Annotated[
        int | None, typer.Option(min=20, help="At most so many groups of each data set: a quick look.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds and the subsamples.")] = 0,
) -> None:
    """Compare ways to resolve conflicts, each data set by itself.

    A fifth of the groups is held out in turn. Models, calibration and thresholds come from the other groups, and
    thresholds from such of them as the model behind them had not seen. Intervals are bootstrapped by group.
    """
    try:
        with console.status("describing each conflict"):
            datasets = list(read_datasets(data, only=only, groups=groups))
    except (FileNotFoundError, ValueError) as error:
        console.print(str(error))
        raise typer.Exit(2) from error
    results: list[dict[str, Judged]] = []
    with Progress(console=console, transient=True) as progress:
        for dataset in datasets:
            asked = ask_all(dataset, METHODS, seed=seed, progress=progress)
            results.append({name: judge(dataset, name, one) for name, one in asked.items()})
            print_tables(results[-1], ours=OURS, against=PLAIN)
            if json_file is not None:  # after each data set, so that an interrupted run leaves what it has
                records = [one.as_json() for result in results for one in result.values()]
                json_file.write_text(json.dumps(records, indent=1))
    print_summary(results, ours=OURS, against=PLAIN)
    if plots is not None:
        from benchmarks.conflicts_plots import write_plots

        write_plots(results, plots)


if __name__ == "__main__":
    app()
