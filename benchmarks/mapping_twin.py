"""How the mapping model starts cold and learns, on simulated companies: `python -m benchmarks.mapping_twin`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.mapping_curve import SHARES, WRONG, ask, by, curve
from benchmarks.mapping_world import TEST_SEED, companies, training_table
from crewflow_assets.cost_code_mapping.evaluation import BASELINES
from crewflow_assets.cost_code_mapping.model import fit
from crewflow_assets.evaluation.calibration import TARGET_RIGHT
from crewflow_assets.evaluation.intervals import cluster_mean
from crewflow_assets.evaluation.plots import bar_plot, line_plot, precision_coverage_plot, reliability_plot

OURS, NEAREST = "ours", "nearest labelled neighbour"
BY_SHARE = 0.25

console = Console(stderr=True)


def main(
    train: Annotated[int, typer.Option(min=8, help="Simulated companies to train on.")] = 60,
    test: Annotated[int, typer.Option(min=2, help="Simulated companies of another seed to ask about.")] = 40,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    seed: Annotated[int, typer.Option(help="Of which items are labelled and which asked.")] = 0,
) -> None:
    """Ask about unseen simulated companies with 0, 5, 10, 25 and 50 % of their items labelled.

    Right means agreeing with where the company's people left the item; the hidden truth stands beside it. Threshold
    and calibration come from the training companies.
    """
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("replaying the training companies", total=train)
        table = training_table(train, lambda done: progress.update(bar, completed=done))
        bar = progress.add_task("fitting", total=2)
        predictors = {OURS: fit(table, seed=0)}
        progress.advance(bar)
        predictors[NEAREST] = fit(table, seed=0, using=BASELINES[NEAREST])
        progress.advance(bar)
        del table
        rows: list[dict[str, object]] = []
        bar = progress.add_task("asking about unseen companies", total=test)
        for company in companies(TEST_SEED, test):
            rows += ask(company, predictors, seed=seed)
            progress.advance(bar)
    answers = pd.DataFrame(rows)
    print(f"{train} companies trained on, {test} of another seed asked.\n")
    print(curve(answers).round(3).to_markdown(index=False))
    _print_automatic(answers)
    _print_noise(answers)
    people = answers[(answers["share"] == 0.0) & (answers["method"] == OURS)]["people_true"].mean()
    print(f"\nPeople's own decisions agree with the hidden truth in {people:.3f} of what was asked.")
    for column in ("industry", "convention"):
        print(f"\nTop-1 by {column}, {BY_SHARE:.0%} labelled:\n")
        print(by(answers, column, BY_SHARE).round(3).to_markdown(index=False))
    if plots is not None:
        _write_plots(answers, plots)


def _print_automatic(answers: pd.DataFrame) -> None:
    """Print how right the automatic mappings of all shares together are."""
    ours = answers[(answers["noise"] == 0) & (answers["method"] == OURS)]
    given = ours[ours["automatic"]]
    if given.empty:
        print("\nNothing is automatic: no threshold kept the promise on the training companies.")
        return
    right = cluster_mean(given["right"].to_numpy(), given["company"].to_numpy(object))
    print(
        f"\nAll shares together: {len(given) / len(ours):.1%} automatic, of it right {right.value:.3f} "
        f"[{right.low:.3f}, {right.high:.3f}] (n={len(given)})."
    )


def _print_noise(answers: pd.DataFrame) -> None:
    """Print what wrong labels in the history cost, paired by item."""
    print(f"\nWhat {WRONG:.0%} wrong labels in the history cost (top-1, clean minus spoilt):\n")
    print("| labelled | method | cost | interval |\n|---|---|---|---|")
    index = ["company", "item"]
    for share in SHARES[1:]:
        for method in (OURS, NEAREST):
            asked = answers[(answers["share"] == share) & (answers["method"] == method)]
            clean = asked[asked["noise"] == 0].set_index(index)["right"]
            spoilt = asked[asked["noise"] > 0].set_index(index)["right"]
            cost = (clean - spoilt).reset_index()
            interval = cluster_mean(cost["right"].to_numpy(), cost["company"].to_numpy(object))
            print(f"| {share:.2f} | {method} | {interval.value:+.3f} | {interval.low:+.3f} to {interval.high:+.3f} |")


def _write_plots(answers: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    clean = answers[answers["noise"] == 0]
    ours = clean[clean["method"] == OURS]
    points = {
        method: [
            cluster_mean(given["right"].to_numpy(), given["company"].to_numpy(object))
            for share in SHARES
            for given in [clean[(clean["method"] == method) & (clean["share"] == share)]]
        ]
        for method in (OURS, NEAREST)
    }
    lines = {
        name: (
            np.array(SHARES),
            np.array([i.value for i in intervals]),
            np.array([i.low for i in intervals]),
            np.array([i.high for i in intervals]),
        )
        for name, intervals in points.items()
    }
    images = {
        "cold-start": line_plot(lines, title="Unseen companies: cold start", xlabel="share labelled", ylabel="top-1"),
        "reliability": reliability_plot(
            ours["confidence"].to_numpy(), ours["right"].to_numpy(), title="Unseen companies, all shares: reliability"
        ),
        "precision": precision_coverage_plot(
            {
                method: (given["confidence"].to_numpy(), given["right"].to_numpy())
                for method in (OURS, NEAREST)
                for given in [clean[clean["method"] == method]]
            },
            title="Unseen companies, all shares: precision against coverage",
            target=TARGET_RIGHT,
            chosen=(float(ours["automatic"].mean()), float(ours[ours["automatic"]]["right"].mean()))
            if ours["automatic"].any()
            else None,
        ),
    }
    at = ours[ours["share"] == BY_SHARE]
    for column in ("industry", "convention"):
        bars = {}
        for value, given in at.groupby(column):
            i = cluster_mean(given["right"].to_numpy(), given["company"].to_numpy(object))
            bars[f"{value} (n={len(given)})"] = (i.value, i.low, i.high)
        images[column] = bar_plot(bars, title=f"Unseen companies: top-1, {BY_SHARE:.0%} labelled", xlabel="top-1")
    for name, image in images.items():
        (folder / f"mapping-twin-{name}.png").write_bytes(image)


if __name__ == "__main__":
    typer.run(main)
