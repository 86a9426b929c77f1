"""How well health scores are foreseen a week ahead: `python -m benchmarks.health_forecast [--draws 8]`."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.health_forecast_world import twin_days
from benchmarks.options import json_option
from crewflow_assets.arrays import Floats
from crewflow_assets.evaluation.intervals import cluster_mean
from crewflow_assets.integration_health.days import MEASURES, PLACE, Days
from crewflow_assets.integration_health.evaluation import OURS, Judged, judge, methods_table, trend_right, trends
from crewflow_assets.integration_health.features import HORIZON_DAYS, NOW, scores_of, start_from
from crewflow_assets.integration_health.lifecycle import IntegrationHealthForecast
from crewflow_assets.integration_health.model import COVERAGE, Forecast, HealthPredictor
from crewflow_assets.integration_health.score import WINDOW_DAYS
from crewflow_assets.integration_health.table import as_table, day_numbers, rows_of_table

SEED = 7
ETS, ETS_DAILY = "AutoETS on the daily scores", "AutoETS on the daily counts, through the formula"
SEASON = 7
console = Console(stderr=True)


def auto_ets(days: Days, asked: pd.DataFrame, progress: Progress) -> dict[str, Judged]:
    """Let AutoETS forecast rows of the feature table, from the daily scores and from what they are made of.

    The second has no interval: its parts are forecast one by one.
    """
    from statsforecast.models import AutoETS  # type: ignore[import-untyped]  # ships no types

    bar = progress.add_task("AutoETS", total=len(asked))
    places = {"/".join(key): place for place, key in enumerate(days.keys)}
    first = np.datetime64(days.first).astype(np.int64)
    said, daily = np.empty((len(asked), 3)), np.empty(len(asked))
    for row, (entity, day) in enumerate(zip(asked["entity"], day_numbers(asked), strict=True)):
        known = days.values[places[entity], : day - first + 1]
        known = known[int(np.flatnonzero(known[:, PLACE["total"]])[0]) :]
        scores = _daily_scores(known)
        found = AutoETS(season_length=SEASON).forecast(scores, h=HORIZON_DAYS, level=[round(100 * COVERAGE)])
        ends = (found["lo-80"], found["mean"], found["hi-80"])
        said[row] = [np.clip(each[HORIZON_DAYS - 1], 0, 100) for each in ends]
        coming = [
            np.maximum(AutoETS(season_length=SEASON).forecast(known[:, place], h=HORIZON_DAYS)["mean"], 0).sum()
            if known[:, place].any()
            else 0.0
            for place in range(len(MEASURES))
        ]
        window = np.zeros((1, WINDOW_DAYS, len(MEASURES)))
        window[0, -min(len(known), WINDOW_DAYS) :] = known[-WINDOW_DAYS:]
        daily[row] = start_from(window, np.array([coming]))[0]
        progress.advance(bar)
    label, now = asked["label"].to_numpy(float), asked[NOW].to_numpy(float)
    entity_of = np.asarray(asked["entity"], object)
    return {
        ETS: Judged(Forecast(*said.T), label, now, entity_of),
        ETS_DAILY: Judged(Forecast(daily, daily, daily), label, now, entity_of),
    }


def _daily_scores(known: Floats) -> Floats:
    """Return the score at the end of each day; where nothing had synced for 30 days, the last one before."""
    before = np.concatenate([np.zeros((WINDOW_DAYS - 1, len(MEASURES))), known])
    windows = np.lib.stride_tricks.sliding_window_view(before, WINDOW_DAYS, axis=0).sum(axis=-1)
    return np.asarray(pd.Series(scores_of(windows)["overall"]).ffill().bfill(), np.float64)


def print_table(title: str, judged: dict[str, Judged]) -> list[dict[str, Any]]:
    """Print the methods on the same rows as Markdown, and return them as records."""
    table = methods_table(judged)
    ours = judged[OURS]
    gains = [
        "" if name == OURS else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        for name, one in judged.items()
        for gain in [cluster_mean(one.error - ours.error, ours.entity)]
    ]
    print(f"\n{title} ({len(ours.label):,} rows of {len(set(ours.entity))} integrations):\n")
    print("| method | MAE | ours is better by | coverage | mean width | quantile loss |\n|---|---|---|---|---|---|")
    for record, gain in zip(table.to_dict("records"), gains, strict=True):
        has_interval = record["mean width"] > 0
        error = f"{record['MAE']:.3f} [{record['MAE low']:.3f}, {record['MAE high']:.3f}]"
        print(
            f"| {record['method']} | {error} | {gain} | "
            + (
                f"{record['coverage']:.3f} [{record['coverage low']:.3f}, {record['coverage high']:.3f}] | "
                f"{record['mean width']:.2f} | {record['quantile loss']:.3f} |"
                if has_interval
                else "– | – | – |"
            )
        )
    right = trend_right(ours)
    if right is not None:
        called = np.mean([trend != "stable" for trend in trends(ours)])
        share = f"{right.value:.1%} [{right.low:.1%}, {right.high:.1%}]"
        print(f"\nOurs calls {called:.1%} a trend; {share} of these went so.")
    return [
        {"rows": title} | {str(name): value for name, value in record.items()} for record in table.to_dict("records")
    ]


def main(
    draws: Annotated[int, typer.Option(min=1, help="Worlds, with parameters from their ranges.")] = 8,
    integrations: Annotated[int, typer.Option(min=4, help="Of each world.")] = 24,
    days: Annotated[int, typer.Option(min=60, help="How long the worlds are.")] = 120,
    json_file: Annotated[Path | None, json_option("Write one record a row set and method.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write plots into this directory.")] = None,
    skip_ets: Annotated[bool, typer.Option(help="Leave AutoETS out, which takes most of the time.")] = False,
) -> None:
    """Fit on three quarters of the integrations before the last four weeks, and forecast the scores of these weeks.

    No label of a training row lies within them. Every method is asked the same rows; AutoETS, which is fitted anew
    for each row, those of the never seen integrations on one day of the week. Intervals (95 %) are by integration.
    """
    code = IntegrationHealthForecast()
    with Progress(console=console) as progress:
        bar = progress.add_task("simulated days", total=days)
        history = twin_days(draws, integrations, days, lambda done, _: progress.update(bar, completed=done))
        table = as_table(history)
        predictor, baselines = code.fit(table, seed=SEED), code.baselines(table, seed=SEED)
        methods: dict[str, HealthPredictor] = {OURS: predictor, **baselines}
        test = table[table["in_test"]]
        unseen = test[test["fold"] == "test"]
        weekly = unseen[(day_numbers(unseen) - day_numbers(unseen).max()) % SEASON == 0]
        parts = {"later days": test, "later days of integrations never seen": unseen}
        if not skip_ets:
            parts["one day a week of these"] = weekly
        judged = {
            name: {method: judge(one, *rows_of_table(part), part) for method, one in methods.items()}
            for name, part in parts.items()
        }
        if not skip_ets:
            judged["one day a week of these"] |= auto_ets(history, weekly, progress)
    records = [record for name, part in judged.items() for record in print_table(name, part)]
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=1))
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for name, image in code.evaluate(predictor, baselines, table).plots.items():
            (plots / f"health-forecast-{name}.png").write_bytes(image)


if __name__ == "__main__":
    typer.run(main)
