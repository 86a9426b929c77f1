"""What people see of a model in production: accuracy by week and version, and the weekly looks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.orm import Session

from crewflow_assets.monitoring.accuracy import WEEK, Accuracy, accuracy, as_table, by, monday
from crewflow_assets.monitoring.hook import Logged
from crewflow_assets.monitoring.looks import ASPECTS, SHOWN_WEEKS, begin_of
from crewflow_assets.monitoring.outcomes import Outcome, join, monitored, predictions_of
from crewflow_assets.spec import Evaluation, Figure, ModelSpec
from crewflow_assets.store.monitoring_tables import DriftLook

if TYPE_CHECKING:
    import pandas as pd

FEWEST_FOR_A_PLOT = 30


def accuracy_report(session: Session, spec: ModelSpec, now: datetime, *, weeks: int = SHOWN_WEEKS) -> Evaluation:
    """Return how right a model was in the last weeks: as a whole, by week, and by version and variant.

    Figures: right, squared_error, ece, coverage (of all predictions, those whose outcome is known).

    Raises:
        NotReadyError: the spec does not say how its predictions are judged.
    """
    judge = monitored(spec)
    logged: list[Logged] = []
    found: list[Outcome] = []
    first = monday(now) - (weeks - 1) * WEEK
    for n in range(weeks):
        begin = begin_of(first + n * WEEK)
        part = predictions_of(session, spec, begin, begin + WEEK)
        logged += [replace(one, inputs={}, output={}) for one in part]  # only the outcomes need them; they are large
        found += join(session, spec, part)
    whole = accuracy(found, len(logged), numbers=judge.numbers)
    by_week = by("week", logged, found, numbers=judge.numbers)
    by_version = by("version, variant", logged, found, numbers=judge.numbers)
    coverage = Figure(name="coverage", value=whole.coverage if logged else None, n=len(logged))
    return Evaluation(
        figures=(whole.right, whole.brier, whole.ece, coverage),
        plots=_plots(spec, by_week, found, numbers=judge.numbers),
        tables={"by_week": as_table(by_week, "week"), "by_version": as_table(by_version, "version, variant")},
    )


def _plots(
    spec: ModelSpec, by_week: Mapping[str, Accuracy], found: Sequence[Outcome], *, numbers: bool
) -> dict[str, bytes]:
    from crewflow_assets.evaluation.plots import line_plot, reliability_plot

    plots: dict[str, bytes] = {}
    known = {week: one.right for week, one in by_week.items() if one.right.value is not None}
    if known:
        value = np.array([one.value for one in known.values()], float)
        low = np.array([one.value if one.low is None else one.low for one in known.values()], float)
        high = np.array([one.value if one.high is None else one.high for one in known.values()], float)
        line = {"right": (np.array(list(known), "datetime64[D]"), value, low, high)}
        plots["right_by_week"] = line_plot(line, title=f"{spec.name} in production", xlabel="week", ylabel="right")
    counted = [one for one in found if one.weight > 0 and one.said is not None]
    if len(counted) >= FEWEST_FOR_A_PLOT and not numbers:
        times = np.maximum(np.rint([one.weight for one in counted]), 1).astype(int)
        said = np.repeat(np.array([one.said for one in counted], float), times)
        actual = np.repeat(np.array([one.actual for one in counted], float), times)
        title = f"{spec.name} in production: reliability"
        plots["reliability"] = reliability_plot(said, actual, title=title, xlabel="said", ylabel="happened")
    return plots


def drift_plot(spec: ModelSpec, looks: Sequence[DriftLook]) -> bytes | None:
    """Plot the statistic of each aspect by week, with its limit; None where nothing could be compared."""
    from crewflow_assets.evaluation.plots import control_plot

    lines: dict[str, tuple[Any, Any, Any]] = {}
    for aspect in ASPECTS:
        mine = [one for one in looks if one.aspect == aspect and one.statistic is not None]
        if mine:
            lines[aspect] = (
                np.array([one.week for one in mine], "datetime64[D]"),
                np.array([one.statistic for one in mine], float),
                np.array([one.threshold for one in mine], float),
            )
    if not lines:
        return None
    return control_plot(lines, title=f"{spec.name}: drift by week", xlabel="week", ylabel="largest difference")


def drift_table(looks: Sequence[DriftLook]) -> "pd.DataFrame":
    """Return the looks as rows, the newest first."""
    import pandas as pd

    names = ("week", "aspect", "model_version", "rows", "companies", "statistic", "threshold", "p_value", "said")
    rows = [{name: getattr(one, name) for name in names} for one in looks]
    frame = pd.DataFrame(rows, columns=list(names))
    return frame.round(3).sort_values(["week", "aspect"], ascending=[False, True], kind="stable")
