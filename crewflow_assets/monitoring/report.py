"""What people see of a model in production: accuracy by week and version, and the weekly looks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.orm import Session

from crewflow_assets.monitoring.accuracy import WEEK, Accuracy, Tally, add_to, as_table, monday
from crewflow_assets.monitoring.looks import ASPECTS, SHOWN_WEEKS, begin_of
from crewflow_assets.monitoring.outcomes import join, monitored, predictions_of
from crewflow_assets.spec import Evaluation, Figure, ModelSpec
from crewflow_assets.store.monitoring_tables import DriftLook

if TYPE_CHECKING:
    import pandas as pd

FEWEST_FOR_A_PLOT = 30
BY_WEEK, BY_VERSION = "week", "version, variant"


def accuracy_report(session: Session, spec: ModelSpec, now: datetime, *, weeks: int = SHOWN_WEEKS) -> Evaluation:
    """Return how right a model was in the last weeks: as a whole, by week, and by version and variant.

    Figures: right, squared_error, ece, coverage (of all predictions, those whose outcome is known).

    Raises:
        NotReadyError: the spec does not say how its predictions are judged.
    """
    numbers = monitored(spec).numbers
    whole = Tally(numbers=numbers)
    parts: dict[str, defaultdict[str, Tally]] = {
        name: defaultdict(lambda: Tally(numbers=numbers)) for name in (BY_WEEK, BY_VERSION)
    }
    first = monday(now) - (weeks - 1) * WEEK
    for n in range(weeks):
        _add_week(session, spec, begin_of(first + n * WEEK), whole, parts)
    figures = whole.accuracy()
    by_week, by_version = (
        {part: one.accuracy() for part, one in sorted(parts[name].items())} for name in (BY_WEEK, BY_VERSION)
    )
    coverage = Figure(name="coverage", value=figures.coverage if whole.predictions else None, n=whole.predictions)
    return Evaluation(
        figures=(figures.right, figures.brier, figures.ece, coverage),
        plots=_plots(spec, by_week, whole),
        tables={"by_week": as_table(by_week, BY_WEEK), "by_version": as_table(by_version, BY_VERSION)},
    )


def _add_week(
    session: Session, spec: ModelSpec, begin: datetime, whole: Tally, parts: Mapping[str, Mapping[str, Tally]]
) -> None:
    """Add a week's predictions, which are large and are let go of before the next week is read."""
    logged = predictions_of(session, spec, begin, begin + WEEK)
    known = join(session, spec, logged)
    whole.predictions += len(logged)
    for one in known:
        whole.add(one)
    for name, tallies in parts.items():
        add_to(tallies, name, logged, known)


def _plots(spec: ModelSpec, by_week: Mapping[str, Accuracy], whole: Tally) -> dict[str, bytes]:
    from crewflow_assets.evaluation.plots import line_plot, reliability_plot

    plots: dict[str, bytes] = {}
    known = {week: one.right for week, one in by_week.items() if one.right.value is not None}
    if known:
        value = np.array([one.value for one in known.values()], float)
        low = np.array([one.value if one.low is None else one.low for one in known.values()], float)
        high = np.array([one.value if one.high is None else one.high for one in known.values()], float)
        line = {"right": (np.array(list(known), "datetime64[D]"), value, low, high)}
        plots["right_by_week"] = line_plot(line, title=f"{spec.name} in production", xlabel="week", ylabel="right")
    said, happened, rows = whole.calibration()
    if len(said) and whole.told >= FEWEST_FOR_A_PLOT:
        title = f"{spec.name} in production: reliability"
        plots["reliability"] = reliability_plot(
            said, happened, counts=rows, title=title, xlabel="said", ylabel="happened"
        )
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
