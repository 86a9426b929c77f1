"""How far simulated timecard conflicts need no person: `python -m benchmarks.conflicts_twin [--part curve]`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.conflicts_drift import Turned, is_affected, run_through
from benchmarks.options import json_option
from crewflow_assets.backtest.conflict_worlds import ceiling_of, histories, table_of
from crewflow_assets.conflict_resolution.evaluation import BASELINES, rows_of, score
from crewflow_assets.conflict_resolution.model import ConflictPredictor, fit
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_mean
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.timecards.parameters import DEFAULTS, TimecardParameters

SIZES = (50, 150, 500, 1_500, 5_000, 15_000, 50_000)
FEWEST, GROWTH = 10, 0.57
"""Companies that a number of decisions is taken from: its power, ten at least."""
DAYS = 180
TEST_COMPANIES = 40
DRAW_COMPANIES, DRAW_TESTED, DRAW_DAYS = 40, 20, 120
MAJORITY = "company's own majority"
USUAL = 0.2
"""Of the automatic decisions, those that people look at; from an assumption, so others stand beside it."""
WATCHES: dict[str, dict[str, Any]] = {
    f"{USUAL:.0%}, the model alone": {"looked_at": USUAL, "switch": False, "people_first": False},
    f"{USUAL:.0%}, and stop switch": {"looked_at": USUAL, "people_first": False},
    **{f"{looked:.0%}, and people first": {"looked_at": looked} for looked in (USUAL, 0.0, 0.05, 1.0)},
}
"""What notices a change: people look at a share of the automatic decisions, the switch, and people first."""
WITHHELD = 0.05
Part = Literal["curve", "draws", "drift"]
TURNED_COLUMNS = (
    *("people look at", "companies", "affected", "tripped after the change, before", "decisions until then"),
    *("automatic until then", "of these wrong"),
)
PARTS: tuple[Part, ...] = ("curve", "draws", "drift")
console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Point:
    """How a method did on unseen companies; intervals are clustered by company, NaN where nothing is automatic."""

    method: str
    decisions: int
    companies: int
    accuracy: float
    ece: float
    coverage: float
    coverage_low: float
    coverage_high: float
    right: float
    right_low: float
    right_high: float
    true: float
    """Of the automatic ones, the share that is the truth, which no person may have found."""


def point(method: str, known: pd.DataFrame, asked: pd.DataFrame, predictor: ConflictPredictor) -> Point:
    """Measure a predictor that was fitted on ``known`` where it was not."""
    found = score(predictor, asked)
    said = predictor.probability(rows_of(asked)[0]).argmax(axis=1)
    sure = found.automatic
    coverage = cluster_mean(sure.astype(float), found.companies)
    right = cluster_mean(found.right[sure], found.companies[sure]) if sure.any() else _nothing()
    true = float(np.mean(said[sure] == asked["truth"].to_numpy()[sure])) if sure.any() else float("nan")
    return Point(
        method,
        len(known),
        known["company_id"].nunique(),
        float(found.right.mean()),
        expected_calibration_error(found.confidence, found.right),
        coverage.value,
        coverage.low,
        coverage.high,
        right.value,
        right.low,
        right.high,
        true,
    )


def companies_for(size: int) -> int:
    """Return how many companies so many decisions come from."""
    return max(FEWEST, int(size**GROWTH))


def first_decisions(table: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return about so many decisions, the earliest of each of a growing number of companies."""
    companies = pd.unique(table["company_id"])[: companies_for(size)]
    mine = table[table["company_id"].isin(companies)].sort_values("opened_at", kind="stable")
    each = int(np.ceil(size / len(companies)))
    return mine[mine.groupby("company_id").cumcount() < each].iloc[:size]


def learning_curve(progress: Progress, *, sizes: tuple[int, ...], seed: int) -> list[Point]:
    """Fit ours and the own majority on more and more decisions, and measure both on the same unseen companies."""
    bar = progress.add_task("learning curve", total=len(sizes) + 2)
    asked = table_of(list(histories(DEFAULTS, companies=TEST_COMPANIES, days=DAYS, seed=seed, prefix="test")))
    progress.advance(bar)
    known = table_of(
        list(histories(DEFAULTS, companies=companies_for(sizes[-1]), days=DAYS, seed=seed, prefix="known"))
    )
    progress.advance(bar)
    found = []
    for size in sizes:
        part = first_decisions(known, size)
        found.append(point("ours", part, asked, fit(*rows_of(part), seed=seed)))
        features, parameters = BASELINES[MAJORITY]
        found.append(
            point(MAJORITY, part, asked, fit(*rows_of(part), seed=seed, features=features, parameters=parameters))
        )
        progress.advance(bar)
    ceiling = ceiling_of(known, asked)
    console.print(
        f"ceiling (knows mechanism and habit): {ceiling.automatic.mean():.3f} automatic, "
        f"agreement at best {ceiling.agrees.mean():.3f}"
    )
    return found


def draw_figures(seed: int) -> dict[str, float]:
    """Return coverage and share right of ours and the ceiling in one draw of the world's parameters."""
    parameters = draw_parameters(TimecardParameters, seed)
    known, asked = (
        table_of(list(histories(parameters, companies=number, days=DRAW_DAYS, seed=seed, prefix=prefix)))
        for number, prefix in ((DRAW_COMPANIES, "known"), (DRAW_TESTED, "test"))
    )
    predictor = fit(*rows_of(known), seed=seed)
    one, ceiling = point("ours", known, asked, predictor), ceiling_of(known, asked)
    sure = score(predictor, asked).automatic
    by_cause = {
        f"automatic: {cause}": float(sure[asked["mechanism"] == cause].mean())
        for cause in asked["mechanism"].unique()
    }
    wrong = float((asked["label"] != asked["truth"]).mean())
    return {
        "decisions": float(len(asked)),
        "people wrong": wrong,
        "accuracy": one.accuracy,
        "ece": one.ece,
        "coverage": one.coverage,
        "right": one.right,
        "true": one.true,
        "ceiling coverage": float(ceiling.automatic.mean()),
        "ceiling agreement": float(ceiling.agrees.mean()),
        **by_cause,
    }


def changed_convention(progress: Progress, *, companies: int, seed: int) -> dict[str, list[Turned]]:
    """Let companies turn a pay rule round, by what notices it (``WATCHES``)."""
    bar = progress.add_task("changes of convention", total=companies + 1)
    settled = TimecardParameters(changes_rule=0.0)
    known = table_of(list(histories(settled, companies=80, days=DAYS, seed=seed, prefix="known")))
    predictor = fit(*rows_of(known), seed=seed)
    progress.advance(bar)
    turning = TimecardParameters(changes_rule=1.0)
    found: dict[str, list[Turned]] = {name: [] for name in WATCHES}
    for history in histories(turning, companies=companies, days=DAYS, seed=seed, prefix="turning"):
        progress.advance(bar)
        if is_affected(history):
            for name, watch in WATCHES.items():
                found[name].append(run_through(predictor, history, withheld_share=WITHHELD, seed=seed, **watch))
    return found


def print_curve(found: list[Point]) -> None:
    """Print the learning curve as Markdown."""
    print("\n| decisions | companies | method | accuracy | ECE | automatic | of it right | of it true |")
    print("|---|---|---|---|---|---|---|---|")
    for one in found:
        cells = (
            f"{one.decisions:,}",
            str(one.companies),
            one.method,
            f"{one.accuracy:.3f}",
            f"{one.ece:.3f}",
            f"{one.coverage:.3f} [{one.coverage_low:.3f}, {one.coverage_high:.3f}]",
            "–" if np.isnan(one.right) else f"{one.right:.3f} [{one.right_low:.3f}, {one.right_high:.3f}]",
            "–" if np.isnan(one.true) else f"{one.true:.3f}",
        )
        print(f"| {' | '.join(cells)} |")


def print_draws(found: Sequence[Mapping[str, float]]) -> None:
    """Print median and spread over the draws as Markdown."""
    table = pd.DataFrame(found)
    quiet = int((table["coverage"] == 0).sum())
    print(f"\n{len(table)} draws of the world; in {quiet} nothing was automatic.\n")
    print("| figure | median | 5 % to 95 % of the draws | mean [95 % interval] |\n|---|---|---|---|")
    for name, column in table.items():
        values = column.dropna()
        low, high = values.quantile([0.05, 0.95])
        mean = cluster_mean(values.to_numpy(float), values.index.to_numpy(object))
        spread = f"{low:.3f} to {high:.3f} | {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
        print(f"| {name} | {values.median():.3f} | {spread} |")


def print_turned(found: Mapping[str, list[Turned]]) -> None:
    """Print, by what notices a change, when the switch tripped and what went wrong until then, as Markdown."""
    print(f"\n| {' | '.join(TURNED_COLUMNS)} |\n{'|---' * len(TURNED_COLUMNS)}|")
    for name, results in found.items():
        after = [one for one in results if one.tripped == "after"]
        median = f"{np.median([one.decisions for one in after]):.0f}" if after else "–"
        wrong = _mean([float(one.wrong) for one in results])
        cells = (
            name,
            str(len(results)),
            f"{np.mean([one.affected for one in results]):.0f} a company",
            f"{len(after)}, {sum(one.tripped == 'before' for one in results)}",
            median,
            f"{np.mean([one.automatic for one in results]):.0f} a company",
            f"{wrong.value:.1f} [{wrong.low:.1f}, {wrong.high:.1f}] a company",
        )
        print(f"| {' | '.join(cells)} |")


def _mean(values: list[float]) -> Interval:
    return cluster_mean(np.array(values), np.arange(len(values)).astype(object))


def _nothing() -> Interval:
    return Interval(float("nan"), float("nan"), float("nan"))


app = typer.Typer(add_completion=False)


@app.command()
def main(
    part: Annotated[Part | None, typer.Option(help="Only this part.")] = None,
    draws: Annotated[int, typer.Option(min=2, help="Draws of the world's parameters.")] = 50,
    companies: Annotated[int, typer.Option(min=5, help="Companies that turn a rule round.")] = 120,
    largest: Annotated[int, typer.Option(min=50, help="Where the learning curve ends, in decisions.")] = SIZES[-1],
    json_file: Annotated[Path | None, json_option("Write all figures here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    seed: Annotated[int, typer.Option(help="Of the worlds and the fits.")] = 11,
) -> None:
    """Measure conflict resolution in the simulated world, on companies that it was not trained on.

    curve: from 50 to 50,000 decisions. draws: 50 worlds with parameters drawn from their ranges, beside the ceiling.
    drift: a company turns a pay rule round; how long the stop switch takes, and what goes wrong until then.
    """
    found: dict[str, Any] = {}
    parts = PARTS if part is None else (part,)
    with Progress(console=console, transient=True) as progress:
        if "curve" in parts:
            curve = learning_curve(progress, sizes=tuple(s for s in SIZES if s <= largest), seed=seed)
            print_curve(curve)
            found["curve"] = [asdict(one) for one in curve]
        if "draws" in parts:
            numbers = progress.track(range(draws), description="draws of the world")
            figures = [draw_figures(seed + number) for number in numbers]
            print_draws(figures)
            found["draws"] = figures
        if "drift" in parts:
            turned = changed_convention(progress, companies=companies, seed=seed)
            print_turned(turned)
            found["drift"] = {name: [asdict(one) for one in results] for name, results in turned.items()}
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1))
    if plots is not None and "curve" in found:
        _plot([Point(**one) for one in found["curve"]], plots)


def _plot(curve: list[Point], folder: Path) -> None:
    from crewflow_assets.evaluation.plots import line_plot

    folder.mkdir(parents=True, exist_ok=True)
    lines = {}
    for method in ("ours", MAJORITY):
        mine = [one for one in curve if one.method == method]
        x = np.log10([one.decisions for one in mine])
        lines[f"{method}: automatic"] = (
            x,
            np.array([one.coverage for one in mine]),
            np.array([one.coverage_low for one in mine]),
            np.array([one.coverage_high for one in mine]),
        )
    png = line_plot(
        lines, title="Simulated companies never seen: automatic share", xlabel="log10 decisions", ylabel="share"
    )
    (folder / "conflicts-twin-curve.png").write_bytes(png)


if __name__ == "__main__":
    app()
