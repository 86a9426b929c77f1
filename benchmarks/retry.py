"""How well the success of a next attempt is foretold on real data: `python -m benchmarks.retry --data DIR`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from benchmarks.options import json_option
from benchmarks.retry_data import Outages, read_outages, read_retries
from benchmarks.retry_figures import OURS, Results, print_records, records, recovery_lines, write_plots
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.retry_strategy.evaluation import Judged
from crewflow_assets.retry_strategy.model import RetryPredictor, examples_of, fit, fit_table

SEED = 7
console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def fit_methods(train: pd.DataFrame, tables: Mapping[str, tuple[str, ...]]) -> dict[str, RetryPredictor]:
    """Fit ours, the way that it did not keep, and the tables, on the same rows."""
    ours = fit(train, seed=SEED)
    other = "survival" if ours.curve.kind == "hazard" else "hazard"
    methods = {OURS: ours, f"{other} trees": fit(train, seed=SEED, ways=(other,))}
    console.print(f"log loss on integrations held out of training: {ours.compared}; kept: {ours.curve.kind}")
    return methods | {name: fit_table(train, by, seed=SEED) for name, by in tables.items()}


def judge(methods: Mapping[str, RetryPredictor], test: pd.DataFrame, *, cluster: str) -> dict[str, Judged]:
    """Let every method foretell the test rows, whose ``cluster`` (a column) says which may fail together."""
    rows = examples_of(test)
    clusters = test[cluster].to_numpy(object)
    return {
        name: Judged(one.probability(rows.context, rows.seconds), rows.ok, clusters) for name, one in methods.items()
    }


def next_attempts(table: pd.DataFrame) -> Results:
    """Judge the success of the next scheduled attempt, fitted before the last three months, on these."""
    methods = fit_methods(
        table[~table["in_test"]],
        {
            "same for all": (),
            "error class": ("class",),
            "class and attempts": ("class", "attempts"),
            "attempts, then class": ("attempts", "class"),  # falls back to the attempts for a class never seen
        },
    )
    test = table[table["in_test"]]
    judged = judge(methods, test, cluster="system")
    first = (test["attempts"] == 1).to_numpy()
    return {
        "live": judged,
        "first failures": {name: one.only(first) for name, one in judged.items()},
    }


def recovery(outages: Outages) -> dict[str, dict[str, Judged]]:
    """Judge the curve of recovery, fitted on half of the sites and asked of the other half, both ways."""
    sites = sorted(set(outages.site), key=lambda site: uniform("half", str(site)))
    half = np.isin(outages.site.astype(str), [str(site) for site in sites[::2]])
    parts: list[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], dict[str, Judged]]] = []
    for train in (half, ~half):
        methods = fit_methods(
            outages.table[train], {"one curve": ("delay",), "curve by error class": ("class", "delay")}
        )
        parts.append((np.flatnonzero(~train), judge(methods, outages.table[~train], cluster="entity")))
    order = np.concatenate([places for places, _ in parts])
    names = list(parts[0][1])
    merged: dict[str, Judged] = {}
    for name in [OURS, *[n for n in names if n != OURS and all(n in part for _, part in parts)]]:
        said, ok = np.empty(len(order)), np.empty(len(order))
        for places, part in parts:
            said[places], ok[places] = part[name].probability, part[name].ok
        merged[name] = Judged(said, ok, outages.site)
    begun = (outages.table["attempts"] == 1).to_numpy()
    return {
        "outages from their beginning": {name: one.only(begun) for name, one in merged.items()},
        "outages still on after 15 minutes": {name: one.only(~begun) for name, one in merged.items()},
    }


@app.command()
def main(
    data: Annotated[
        Path, typer.Option(help="Directory of fetch_log.parquet and outages.csv.", exists=True, file_okay=False)
    ],
    json_file: Annotated[Path | None, json_option("Write one record a row set and method.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
) -> None:
    """Foretell the next scheduled attempt after a failure, and when an outage is over.

    Live rows are failures of endpoints with at most 14 in a row; the last three months test. Intervals are
    bootstrapped by host, whose endpoints fail together, those of outages by site.
    """
    try:
        with console.status("describing each failure by what went before it"):
            table, outages = read_retries(data), read_outages(data)
    except (FileNotFoundError, ValueError) as error:
        console.print(str(error))
        raise typer.Exit(2) from error
    with console.status("fitting"):
        results: dict[str, Mapping[str, Judged]] = {**next_attempts(table), **recovery(outages)}
    found = records(results)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1))
    print_records(found)
    if plots is not None:
        begun = results["outages from their beginning"]
        chosen = (outages.table["attempts"] == 1).to_numpy()
        minutes = np.round(outages.table["delay_seconds"].to_numpy(float)[chosen] / 60, 4)
        write_plots(results, recovery_lines(begun, minutes), plots)


if __name__ == "__main__":
    app()
