"""The sync health benchmark in the simulated world: outcomes of forecasts, the ceiling, and intervals that hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.progress import Progress
from typer.testing import CliRunner

from benchmarks.sync_health_limits import LimitOutcomes, outcomes, placed
from benchmarks.sync_health_twin import CEILING, limit_forecasts, live, main
from crewflow_assets.sync_health.contract import RateLimitForecast
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY

HOUR = 4


def said(low: float, high: float | None) -> RateLimitForecast:
    return RateLimitForecast(minutes=low, low_minutes=low, high_minutes=high, probability=0.5)


def test_a_forecast_is_judged_until_the_calls_begin_anew() -> None:
    stopped = np.zeros((2 * TICKS_PER_DAY, 2), bool)
    stopped[10 * HOUR : 12 * HOUR, 0] = True
    who, tick = np.array([0, 0, 0, 1]), np.array([8 * HOUR, 13 * HOUR, TICKS_PER_DAY, 8 * HOUR])
    found = outcomes(stopped, who, tick, np.zeros(4, np.int64))
    assert found.hit[0] == 120
    assert np.isnan(found.hit[1:]).all()
    assert found.reset.tolist() == [16 * 60, 11 * 60, 24 * 60, 16 * 60]
    assert found.within(120).tolist() == [1, 0, 0, 0]
    assert np.isnan(found.within(12 * 60)[1])


@pytest.mark.parametrize(
    ("low", "high", "hit", "reset", "place"),
    [
        (30, 90, 60, 600, "in"),
        (70, 90, 60, 600, "before"),
        (60, 90, 60, 600, "in"),
        (10, 50, 60, 600, "in"),  # within the tick that ended then
        (10, 40, 60, 600, "after"),
        (10, None, 600, 900, "in"),
        (10, 90, np.nan, 200, "after"),
        (10, 90, np.nan, 100, "unknown"),
        (10, None, np.nan, 100, "unknown"),
    ],
)
def test_where_a_limit_lies_beside_its_interval(
    low: float, high: float | None, hit: float, reset: float, place: str
) -> None:
    found = LimitOutcomes(np.array([hit]), np.array([reset]), np.array([0]))
    before, within, after = placed([said(low, high)], found)
    assert {"before": before[0], "in": within[0], "after": after[0], "unknown": not (before | within | after)[0]} == {
        name: name == place for name in ("before", "in", "after", "unknown")
    }


def test_the_forecasts_interval_holds_in_worlds_it_was_not_fitted_to() -> None:
    with Progress(disable=True) as progress:
        lived = live(draws=10, integrations=12, days=16, progress=progress)
    forecasts, became = limit_forecasts(lived)
    before, within, after = placed(forecasts, became)
    known = before | within | after
    assert known.sum() > 50
    assert within[known].mean() > 0.6
    likely, came = np.array([one.probability for one in forecasts]), became.within(120)
    sure = ~np.isnan(came)
    usual = came[sure].mean()
    assert np.mean((likely[sure] - came[sure]) ** 2) < usual * (1 - usual)


def test_each_split_rows_and_method_has_its_record_and_the_ceiling_is_above(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "twin.json"
    done = CliRunner().invoke(
        app, ["--draws", "2", "--integrations", "12", "--days", "16", "--json", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    records = json.loads(out.read_text())
    splits, methods = {r["split"] for r in records}, {r["method"] for r in records}
    assert len(splits) == 2
    assert len(records) == 2 * 3 * len(methods)
    by = {(r["split"], r["rows"], r["method"]): r["brier"] for r in records}
    for split in splits:
        best = min(by[split, "all", method] for method in methods - {CEILING})
        assert by[split, "all", CEILING] < best
    assert "## The rate-limit forecast" in done.output
