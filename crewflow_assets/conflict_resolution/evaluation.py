"""What a good conflict model must show: on unseen companies, beside named baselines, with clustered intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crewflow_assets.arrays import AnyFloats, Bools, Ints, Objects, Singles
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.features import CHOICE_FEATURES, FEATURES, PRD
from crewflow_assets.conflict_resolution.model import PARAMETERS, ConflictPredictor
from crewflow_assets.evaluation.calibration import TARGET_RIGHT, expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_mean
from crewflow_assets.evaluation.plots import bar_plot, precision_coverage_plot, reliability_plot
from crewflow_assets.evaluation.slices import NAME as SLICES
from crewflow_assets.evaluation.slices import sliced
from crewflow_assets.spec import Evaluation, Figure

STUMPS = {**PARAMETERS, "max_depth": 2}
BASELINES: dict[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "PRD's features": (PRD, {**PARAMETERS, "max_depth": 4}),
    "more reliable source": (("conflict_type", "crewflow_reliability", "external_reliability"), STUMPS),
    "company's own majority": (CHOICE_FEATURES, STUMPS),
}
"""Each baseline is the same model on these features, with these parameters."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """How a predictor did on the test companies."""

    confidence: AnyFloats
    right: AnyFloats
    automatic: Bools
    companies: Objects


def rows_of(table: pd.DataFrame) -> tuple[Singles, Ints, Objects, Objects]:
    """Return features, labels, companies and conflict types of a feature table's rows."""
    return (
        table[list(FEATURES)].to_numpy(np.float32),
        table["label"].to_numpy(np.int64),
        np.asarray(table["company_id"], object),
        np.asarray(table["type"], object),
    )


def score(predictor: ConflictPredictor, test: pd.DataFrame) -> Scored:
    """Ask the predictor every row of a table."""
    rows, labels, companies, types = rows_of(test)
    probability = predictor.probability(rows)
    right = (probability.argmax(axis=1) == labels).astype(float)
    return Scored(probability.max(axis=1), right, predictor.automatic(probability, types), companies)


def evaluate(
    predictor: ConflictPredictor, baselines: Mapping[str, ConflictPredictor], table: pd.DataFrame
) -> Evaluation:
    """Measure on the test companies.

    Raises:
        ValueError: there are no test companies.
    """
    test = table[table["fold"] == "test"]
    if test.empty:
        raise ValueError("the feature table has no test companies; import more companies")
    ours = score(predictor, test)
    others = {name: score(baseline, test) for name, baseline in baselines.items()}
    best = max(others, key=lambda name: others[name].right.mean())
    always = cluster_mean(np.asarray(test["label"] == 0, float), ours.companies)
    return Evaluation(
        figures=_figures(ours, best, others[best]),
        plots=_plots(ours, others, test),
        tables={
            "methods": _methods({"ours": ours, **others}, always),
            "by_type": _by_type(predictor, ours, test),
            SLICES: sliced("accuracy", ours.right, ours.companies, {"type": test["type"].to_numpy(object)}),
        },
    )


def _figures(ours: Scored, best: str, other: Scored) -> tuple[Figure, ...]:
    companies, n = ours.companies, len(ours.right)

    def figure(name: str, found: Interval, beside: float | None, count: int = n) -> Figure:
        return Figure(
            name=name,
            value=found.value,
            low=found.low,
            high=found.high,
            n=count,
            baseline=None if beside is None else best,
            baseline_value=beside,
        )

    sure = ours.automatic
    return (
        figure("accuracy", cluster_mean(ours.right, companies), float(other.right.mean())),
        figure("accuracy_gain", cluster_mean(ours.right - other.right, companies), 0.0),
        Figure(
            name="ece",
            value=expected_calibration_error(ours.confidence, ours.right),
            n=n,
            baseline=best,
            baseline_value=expected_calibration_error(other.confidence, other.right),
        ),
        figure("auto_coverage", cluster_mean(sure.astype(float), companies), float(other.automatic.mean())),
        figure("auto_right", cluster_mean(ours.right[sure], companies[sure]), None, int(sure.sum()))
        if sure.any()
        else Figure(name="auto_right", value=None, n=0),
    )


def _methods(found: Mapping[str, Scored], always: Interval) -> pd.DataFrame:
    rows = [
        {
            "method": name,
            "accuracy": round(float(one.right.mean()), 3),
            "automatic": round(float(one.automatic.mean()), 3),
            "right": round(float(one.right[one.automatic].mean()), 3) if one.automatic.any() else None,
            "ece": round(expected_calibration_error(one.confidence, one.right), 3),
        }
        for name, one in found.items()
    ]
    rows.append(
        {
            "method": "always CrewFlow",
            "accuracy": round(always.value, 3),
            "automatic": None,
            "right": None,
            "ece": None,
        }
    )
    return pd.DataFrame(rows)


def _by_type(predictor: ConflictPredictor, ours: Scored, test: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for kind in sorted(test["type"].unique()):
        places = np.flatnonzero(test["type"] == kind)
        sure = places[ours.automatic[places]]
        share = test["label"].to_numpy()[places]
        rows.append(
            {
                "type": kind,
                "n": len(places),
                **{name: round(float(np.mean(share == place)), 3) for place, name in enumerate(RESOLUTIONS)},
                "accuracy": round(float(ours.right[places].mean()), 3),
                "threshold": predictor.thresholds.get(str(kind)),
                "automatic": round(len(sure) / len(places), 3),
                "right": round(float(ours.right[sure].mean()), 3) if len(sure) else None,
            }
        )
    return pd.DataFrame(rows)


def _plots(ours: Scored, others: Mapping[str, Scored], test: pd.DataFrame) -> dict[str, bytes]:
    sure, chosen = ours.automatic, None
    if sure.any():
        chosen = (float(sure.mean()), float(ours.right[sure].mean()))
    curves = {"ours": (ours.confidence, ours.right)}
    curves |= {name: (one.confidence, one.right) for name, one in others.items()}
    by_type = {}
    for kind in sorted(test["type"].unique()):
        mine = (test["type"] == kind).to_numpy()
        found = cluster_mean(ours.right[mine], ours.companies[mine])
        by_type[f"{kind} (n={int(mine.sum())})"] = (found.value, found.low, found.high)
    return {
        "reliability": reliability_plot(ours.confidence, ours.right, title="Unseen companies: reliability"),
        "precision_coverage": precision_coverage_plot(
            curves, title="Unseen companies: precision against coverage", target=TARGET_RIGHT, chosen=chosen
        ),
        "accuracy_by_type": bar_plot(by_type, title="Unseen companies: accuracy by type", xlabel="accuracy"),
    }
