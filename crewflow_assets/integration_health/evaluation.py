"""What a good forecast must show: error and coverage on later days, beside what needs no model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Floats, Objects
from crewflow_assets.evaluation.intervals import Interval, cluster_mean, or_none
from crewflow_assets.evaluation.slices import sliced
from crewflow_assets.integration_health.answering import trend_of
from crewflow_assets.integration_health.features import MEAN, NOW, WEEK
from crewflow_assets.integration_health.model import COVERAGE, Forecast, HealthPredictor, Rows, pinball
from crewflow_assets.integration_health.table import rows_of_table
from crewflow_assets.spec import Evaluation, Figure

SIMPLE = {
    "last value": NOW,
    "known days and the mean": MEAN,
    "seasonal-naive (known days and the last week again)": WEEK,
}
"""What needs no model: baselines by name, with the feature that is their forecast."""
OURS = "ours"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a method forecast for some rows, and what came."""

    said: Forecast
    label: Floats
    now: Floats
    entity: Objects

    @property
    def error(self) -> Floats:
        """Points between the middle of the forecast and what came."""
        return np.asarray(np.abs(self.said.middle - self.label))

    @property
    def covered(self) -> Floats:
        """1 where what came lies within the interval."""
        return np.asarray(((self.label >= self.said.low) & (self.label <= self.said.high)).astype(float))

    @property
    def width(self) -> Floats:
        """Points from the lower to the upper end."""
        return np.asarray(self.said.high - self.said.low)

    def only(self, chosen: Bools) -> "Judged":
        """Return the chosen rows."""
        said = Forecast(self.said.low[chosen], self.said.middle[chosen], self.said.high[chosen])
        return Judged(said, self.label[chosen], self.now[chosen], self.entity[chosen])


def judge(predictor: HealthPredictor, rows: Rows, label: Floats, table: pd.DataFrame) -> Judged:
    """Let a predictor forecast rows."""
    return Judged(
        predictor.full.forecast(rows), label, table[NOW].to_numpy(float), np.asarray(table["entity"], object)
    )


def evaluate(predictor: HealthPredictor, baselines: Mapping[str, HealthPredictor], test: pd.DataFrame) -> Evaluation:
    """Measure on the test days.

    Raises:
        ValueError: there are no test days.
    """
    if test.empty:
        raise ValueError("the feature table has no test days; import more history")
    rows, label = rows_of_table(test)
    judged = {OURS: judge(predictor, rows, label, test)}
    judged |= {name: judge(baseline, rows, label, test) for name, baseline in baselines.items()}
    unseen = np.asarray(test["fold"] == "test")
    parts = {"": judged}
    if unseen.any():
        parts["unseen_"] = {name: one.only(unseen) for name, one in judged.items()}
    given = Judged(predictor.given.forecast(rows), label, judged[OURS].now, judged[OURS].entity)
    return Evaluation(
        figures=tuple(figure for name, part in parts.items() for figure in _figures(name, part, given)),
        plots=_plots(judged),
        tables={
            "methods": methods_table(judged | {"ours, from the metrics of a request alone": given}),
            "slices": _slices(judged[OURS], test),
        },
    )


def methods_table(judged: Mapping[str, Judged]) -> pd.DataFrame:
    """Return error, coverage and width of each method, with intervals by integration."""
    records = []
    for name, one in judged.items():
        error, covered = cluster_mean(one.error, one.entity), cluster_mean(one.covered, one.entity)
        records.append(
            {
                "method": name,
                "n": len(one.label),
                "MAE": round(error.value, 3),
                "MAE low": round(error.low, 3),
                "MAE high": round(error.high, 3),
                "coverage": round(covered.value, 3),
                "coverage low": round(covered.low, 3),
                "coverage high": round(covered.high, 3),
                "mean width": round(float(one.width.mean()), 2),
                "quantile loss": round(float(pinball(one.said, one.label).mean()), 3),
            }
        )
    return pd.DataFrame.from_records(records)


def trends(judged: Judged) -> list[str]:
    """Return the trend of each row."""
    said = judged.said
    return [trend_of(*each) for each in zip(said.low, said.middle, said.high, judged.now, strict=True)]


def trend_right(judged: Judged) -> Interval | None:
    """Return how often the score moved to the side that a trend said; None where every row was called stable."""
    said = np.array(trends(judged))
    moved = judged.label - judged.now
    called = said != "stable"
    if not called.any():
        return None
    right = np.where(said == "improving", moved > 0, moved < 0)[called]
    return cluster_mean(right.astype(float), judged.entity[called])


def _figures(part: str, judged: Mapping[str, Judged], given: Judged) -> list[Figure]:
    ours = judged[OURS]
    others = {name: one for name, one in judged.items() if name != OURS}
    best = min(others, key=lambda name: float(others[name].error.mean()))
    other, n = others[best], len(ours.label)

    def figure(name: str, found: Interval | None, beside: float | None, count: int = n) -> Figure:
        if found is None:
            return Figure(name=f"{part}{name}", value=None, n=0)
        return Figure(
            name=f"{part}{name}",
            value=found.value,
            low=or_none(found.low),
            high=or_none(found.high),
            n=count,
            baseline=None if beside is None else best,
            baseline_value=beside,
        )

    called = sum(trend != "stable" for trend in trends(ours))
    found = [
        figure("mae", cluster_mean(ours.error, ours.entity), float(other.error.mean())),
        figure("mae_gain", cluster_mean(other.error - ours.error, ours.entity), 0.0),
        figure("coverage_80", cluster_mean(ours.covered, ours.entity), float(other.covered.mean())),
        figure("interval_width", cluster_mean(ours.width, ours.entity), float(other.width.mean())),
        figure(
            "trend_called", cluster_mean(np.array([t != "stable" for t in trends(ours)], float), ours.entity), None
        ),
        figure("trend_right", trend_right(ours), None, called),
    ]
    if not part:
        found.append(figure("given_mae", cluster_mean(given.error, given.entity), None))
    return found


def _slices(ours: Judged, test: pd.DataFrame) -> pd.DataFrame:
    labels = {"system": test["system"].to_numpy(), "integrations": np.where(test["fold"] == "test", "unseen", "seen")}
    return pd.concat(
        [
            sliced("mae", ours.error, ours.entity, labels),
            sliced("coverage_80", ours.covered, ours.entity, labels),
        ],
        ignore_index=True,
    )


def _plots(judged: Mapping[str, Judged]) -> dict[str, bytes]:
    from crewflow_assets.evaluation.plots import bar_plot

    errors = {name: cluster_mean(one.error, one.entity) for name, one in judged.items()}
    covered = {name: cluster_mean(one.covered, one.entity) for name, one in judged.items()}
    return {
        "mae": bar_plot(
            {name: (i.value, i.low, i.high) for name, i in errors.items()},
            title="How far off the score in seven days is",
            xlabel="mean absolute error, points",
        ),
        "coverage": bar_plot(
            {name: (i.value, i.low, i.high) for name, i in covered.items()},
            title=f"How often the {COVERAGE:.0%} interval holds",
            xlabel="share of the scores within the interval",
        ),
    }
