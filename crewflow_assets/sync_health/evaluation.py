"""What a good sync health model must show: figures, baselines and plots, on all, live and onset rows.

*Live* rows leave out integrations that have failed 14 times in a row, *onset* rows are those whose previous attempt
succeeded. Accuracy says little where failures are rare, so that always-no stands beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crewflow_assets.arrays import AnyFloats, Bools, Ints, Objects, Singles
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_bootstrap, cluster_mean, or_none
from crewflow_assets.evaluation.slices import NAME as SLICES
from crewflow_assets.evaluation.slices import sliced
from crewflow_assets.sync_health.baselines import Probabilities, simple_methods
from crewflow_assets.sync_health.contract import AT_RISK
from crewflow_assets.sync_health.features import COLUMN
from crewflow_assets.sync_health.model import SyncHealthPredictor

if TYPE_CHECKING:
    import pandas as pd

    from crewflow_assets.spec import Evaluation, Figure

LIVE_BELOW = 14
OURS = "ours"
ROWSETS = ("all", "live", "onset")
MICROS_A_DAY = 86_400_000_000


def rows_of(name: str, rows: Singles) -> Bools:
    """Return which rows belong to a row set: ``all``, ``live`` or ``onset``."""
    failing, known = rows[:, COLUMN["failures_in_a_row"]], rows[:, COLUMN["known_attempts"]]
    if name == "live":
        return np.asarray(failing < LIVE_BELOW)
    if name == "onset":
        return np.asarray((failing == 0) & (known > 0))
    return np.ones(len(rows), bool)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A method's probabilities on some rows, with what happened; ``entity`` is what intervals are clustered by."""

    probability: AnyFloats
    failed: AnyFloats
    entity: Objects

    def only(self, chosen: Bools) -> "Judged":
        """Return the chosen rows."""
        return Judged(self.probability[chosen], self.failed[chosen], self.entity[chosen])


def figures(judged: Judged) -> dict[str, float]:
    """Return n, base_rate, accuracy, pr_auc, brier, ece, recall_at_p70 and recall_at_p50; NaN without failures."""
    p, y = judged.probability, judged.failed
    return {
        "n": len(y),
        "base_rate": float(y.mean()) if len(y) else float("nan"),
        "accuracy": float(np.mean((p > 0.5) == (y == 1))) if len(y) else float("nan"),
        "pr_auc": pr_auc(p, y),
        "brier": float(np.mean((p - y) ** 2)) if len(y) else float("nan"),
        "ece": expected_calibration_error(p, y) if len(y) else float("nan"),
        "recall_at_p70": recall_at(p, y, 0.7),
        "recall_at_p50": recall_at(p, y, 0.5),
    }


def _steps(p: AnyFloats, y: AnyFloats) -> tuple[AnyFloats, AnyFloats]:
    """Return precision and recall at each distinct probability, from the highest down."""
    order = np.argsort(-p, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(p[order])), len(p) - 1]
    hits = np.cumsum(y[order])[ends]
    return hits / (ends + 1), hits / max(y.sum(), 1)


def pr_auc(p: AnyFloats, y: AnyFloats) -> float:
    """Return the average precision: precision weighted by the gain in recall, ties taken together."""
    if not y.any():
        return float("nan")
    precision, recall = _steps(p, y)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def recall_at(p: AnyFloats, y: AnyFloats, precision: float) -> float:
    """Return the largest share of failures that can be told of with at least that share of alarms right."""
    if not y.any():
        return float("nan")
    reached, recall = _steps(p, y)
    return float(recall[reached >= precision].max(initial=0.0))


def interval(statistic: Callable[[Judged], float], judged: Judged, *, draws: int = 200) -> Interval:
    """Return a statistic with its 95 % interval, whole entities drawn with replacement."""

    def of(rows: Ints) -> float:
        return statistic(Judged(judged.probability[rows], judged.failed[rows], judged.entity[rows]))

    return cluster_bootstrap(of, judged.entity, draws=draws)


def alarms(
    probability: AnyFloats, failed: AnyFloats, rows: Singles, micros: AnyFloats, *, above: float = AT_RISK
) -> dict[str, float]:
    """Return what an alarm above a probability would come to.

    Returns:
        ``per_day``: alarms a day of all; ``precision``: share that failed; ``after_success``: share whose previous
        attempt had succeeded; ``after_success_right``: share of these that failed; ``lead_minutes``: the
        median time from the moment of the prediction to the failure.
    """
    raised = probability > above
    days = max((micros.max() - micros.min()) / MICROS_A_DAY, 1.0) if len(micros) else 1.0
    early = raised & rows_of("onset", rows)
    right = early & (failed == 1)
    nan = float("nan")
    return {
        "per_day": float(raised.sum() / days),
        "precision": float(failed[raised].mean()) if raised.any() else nan,
        "after_success": float(early.sum() / raised.sum()) if raised.any() else nan,
        "after_success_right": float(failed[early].mean()) if early.any() else nan,
        "lead_minutes": float(np.median(rows[right, COLUMN["lead_minutes"]])) if right.any() else nan,
    }


def evaluate(
    predictor: SyncHealthPredictor,
    baselines: Mapping[str, SyncHealthPredictor],
    training: "pd.DataFrame",
    test: "pd.DataFrame",
) -> "Evaluation":
    """Measure on the test rows of a feature table, and apart on integrations that were never trained on.

    Raises:
        ValueError: there are no test rows.
    """
    import pandas as pd

    from crewflow_assets.spec import Evaluation, Figure
    from crewflow_assets.sync_health.table import rows_of_table

    if test.empty:
        raise ValueError("the feature table has no test rows; import more history")
    rows, failed, micros = rows_of_table(test)
    usual = float(training["label"].mean())
    methods: dict[str, Probabilities] = {OURS: predictor.full.probability}
    methods |= simple_methods(usual) | {name: baseline.full.probability for name, baseline in baselines.items()}
    entity = test["entity"].to_numpy(object)
    said = {name: Judged(np.asarray(method(rows), float), failed, entity) for name, method in methods.items()}
    unseen = (test["fold"] == "test").to_numpy()
    parts = {name: rows_of(name, rows) for name in ROWSETS} | {"unseen live": rows_of("live", rows) & unseen}
    judged = {
        part: {name: one.only(chosen) for name, one in said.items()} for part, chosen in parts.items() if chosen.any()
    }
    found: list[Figure] = []
    for part, ones in judged.items():
        found += _figures(part.replace(" ", "_"), ones)
    raised = alarms(said[OURS].probability, failed, rows, micros)
    n = int((said[OURS].probability > AT_RISK).sum())
    found += [Figure(name=f"alarm_{name}", value=or_none(value), n=n) for name, value in raised.items()]
    table = pd.DataFrame(
        [
            {**as_record(part, name, (measured := figures(one))), "accuracy": or_none(measured["accuracy"])}
            for part, ones in judged.items()
            for name, one in ones.items()
        ]
    )
    tables = {"by_rows_and_method": table, SLICES: _slices(test, said[OURS], parts["live"], unseen)}
    return Evaluation(tuple(found), plots=_plots(judged), tables=tables)


def _slices(test: "pd.DataFrame", ours: Judged, live: Bools, unseen: Bools) -> "pd.DataFrame":
    by = {
        "system": test["system"].to_numpy(object)[live],
        "integration": np.where(unseen, "never trained on", "trained on earlier")[live],
    }
    chosen = ours.only(live)
    return sliced("live_brier", (chosen.probability - chosen.failed) ** 2, chosen.entity, by)


def _figures(part: str, judged: Mapping[str, Judged]) -> "list[Figure]":
    """Return PR-AUC, Brier, its gain over the best baseline, ECE and recalls of ours, beside that baseline."""
    from crewflow_assets.spec import Figure

    ours = judged[OURS]
    n = len(ours.failed)
    others = {name: figures(one) for name, one in judged.items() if name != OURS}
    best = min(others, key=lambda name: others[name]["brier"])
    highest = max(others, key=lambda name: np.nan_to_num(others[name]["pr_auc"]))
    mine = figures(ours)
    area = interval(lambda j: pr_auc(j.probability, j.failed), ours)
    error = cluster_mean((ours.probability - ours.failed) ** 2, ours.entity)
    other = judged[best]
    gain = cluster_mean((other.probability - other.failed) ** 2 - (ours.probability - ours.failed) ** 2, ours.entity)

    def figure(name: str, measured: Interval, beside: str, value: float) -> Figure:
        return Figure(
            name=f"{part}_{name}",
            value=or_none(measured.value),
            low=or_none(measured.low),
            high=or_none(measured.high),
            n=n,
            baseline=beside,
            baseline_value=or_none(value),
        )

    return [
        figure("pr_auc", area, highest, others[highest]["pr_auc"]),
        figure("brier", error, best, others[best]["brier"]),
        figure("brier_gain", gain, best, 0.0),
        *(
            Figure(
                name=f"{part}_{name}",
                value=or_none(mine[name]),
                n=n,
                baseline=best,
                baseline_value=or_none(others[best][name]),
            )
            for name in ("ece", "recall_at_p70", "recall_at_p50", "accuracy")
        ),
    ]


def _plots(judged: Mapping[str, Mapping[str, Judged]]) -> dict[str, bytes]:
    from crewflow_assets.evaluation.plots import precision_recall_plot, reliability_plot

    plots = {}
    for part, ones in judged.items():
        curves = {name: (one.probability, one.failed) for name, one in ones.items()}
        stem, ours = part.replace(" ", "_"), ones[OURS]
        plots[f"{stem}_precision_recall"] = precision_recall_plot(curves, title=f"{part} rows: precision and recall")
        plots[f"{stem}_reliability"] = reliability_plot(
            ours.probability, ours.failed, title=f"{part} rows: reliability", xlabel="said to fail", ylabel="failed"
        )
    return plots


def as_record(rows: str, method: str, found: Mapping[str, float]) -> dict[str, Any]:
    """Return one record of a row set and method, rounded, null where there is nothing."""
    names = ("base_rate", "pr_auc", "brier", "ece", "recall_at_p70", "recall_at_p50")
    rounded = {name: None if np.isnan(found[name]) else round(found[name], 5) for name in names}
    return {"rows": rows, "method": method, "n": int(found["n"]), **rounded}
