"""How well failures are foreseen on a real log of fetches: `python -m benchmarks.sync_health --data DIR`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.fetch_log import find_log
from benchmarks.options import json_option
from benchmarks.sync_health_data import Log, read_log
from benchmarks.sync_health_tables import Results, print_alarms, print_results
from crewflow_assets.arrays import Bools
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.sync_health.baselines import Probabilities, fit_baselines
from crewflow_assets.sync_health.evaluation import ROWSETS, Judged, alarms, as_record, figures, rows_of
from crewflow_assets.sync_health.features import FEATURES
from crewflow_assets.sync_health.model import BOTH, Part, fit_model

OURS = "ours"
ALONE, TREES = "our model, own history alone", "its trees alone"
SEED = 7

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def fit_methods(log: Log, train: Bools, progress: Progress) -> dict[str, Probabilities]:
    """Fit ours and every baseline on the same rows."""
    rows, failed, micros = log.rows[train], log.failed[train], log.micros[train]
    bar = progress.add_task("fitting", total=4)
    alone = [name for name in FEATURES if not name.startswith(("others", "fleet"))]
    methods: dict[str, Probabilities] = {}
    kinds: tuple[tuple[str, Sequence[str], Sequence[Part]], ...] = (
        (OURS, FEATURES, BOTH),
        (ALONE, alone, BOTH),
        (TREES, FEATURES, ("trees",)),
    )
    for name, features, parts in kinds:
        methods[name] = fit_model(rows, failed, micros, features, seed=SEED, parts=parts).probability
        progress.advance(bar)
    methods |= fit_baselines(rows, failed, micros, seed=SEED)
    progress.advance(bar)
    return methods


def judge(log: Log, test: Bools, methods: Mapping[str, Probabilities]) -> Results:
    """Let every method foresee the test rows, and return them by row set and method."""
    rows = log.rows[test]
    asked = {
        name: Judged(np.asarray(method(rows), float), log.failed[test], log.host[test])
        for name, method in methods.items()
    }
    return {part: {name: one.only(rows_of(part, rows)) for name, one in asked.items()} for part in ROWSETS}


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Directory of fetch_log.parquet.", exists=True, file_okay=False)],
    json_file: Annotated[Path | None, json_option("Write one record a row set and method.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    unseen: Annotated[
        bool, typer.Option(help="Also fit without a quarter of the hosts, and foresee theirs in the last quarter.")
    ] = False,
) -> None:
    """Fit on all but the last three months of a log, and foresee these.

    Live rows leave out endpoints that failed 14 times in a row, onset rows are those whose previous attempt
    succeeded. Intervals are bootstrapped by host, whose endpoints fail together.
    """
    try:
        file = find_log(data)
        with console.status("describing each fetch by what went before it"):
            log = read_log(file)
    except (FileNotFoundError, ValueError) as error:
        console.print(str(error))
        raise typer.Exit(2) from error
    with Progress(console=console, transient=True) as progress:
        methods = fit_methods(log, ~log.in_test, progress)
    results = judge(log, log.in_test, methods)
    if json_file is not None:
        records = [
            as_record(part, name, figures(judged))
            for part, judged_methods in results.items()
            for name, judged in judged_methods.items()
        ]
        json_file.write_text(json.dumps(records, indent=1))
    print_results(results, title="Last three months")
    tests = log.rows[log.in_test], log.micros[log.in_test]
    print_alarms({name: alarms(judged.probability, judged.failed, *tests) for name, judged in results["all"].items()})
    if plots is not None:
        from benchmarks.sync_health_plots import write_plots

        write_plots(results, plots)
    if unseen:
        held_out = np.array([fold_of(str(host)) == "test" for host in log.host])
        with Progress(console=console, transient=True) as progress:
            methods = fit_methods(log, ~log.in_test & ~held_out, progress)
        print_results(judge(log, log.in_test & held_out, methods), title="Last three months of hosts never seen")


if __name__ == "__main__":
    app()
