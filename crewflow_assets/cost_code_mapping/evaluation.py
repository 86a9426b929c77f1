"""What a good mapping model must show: on unseen companies, beside named baselines, with clustered intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crewflow_assets.arrays import AnyFloats, Bools, Objects
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.cost_code_mapping.ranker import Queries
from crewflow_assets.evaluation.calibration import TARGET_RIGHT, expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_mean
from crewflow_assets.evaluation.plots import bar_plot, line_plot, precision_coverage_plot, reliability_plot
from crewflow_assets.evaluation.slices import NAME as SLICES
from crewflow_assets.evaluation.slices import sliced
from crewflow_assets.spec import Evaluation, Figure

WORST_SHOWN = 30
SLICED_BY = ("industry", "system", "kind")

BASELINES = {
    "spelling (character n-grams)": ("name_similarity",),
    "encoder, zero-shot": ("encoder_name",),
    "nearest labelled neighbour": ("nearest", "encoder_name"),
    "most used account": ("log_share_all",),
}
"""Each baseline is the same ranker on these features alone."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How a predictor did on the test queries."""

    first_right: AnyFloats
    in_five: AnyFloats
    confidence: AnyFloats
    automatic: Bools
    companies: Objects


def score(predictor: MappingPredictor, test: pd.DataFrame) -> Scored:
    """Rank every query of the table."""
    queries = Queries.of(test)
    rankings = predictor.rank_table(test)
    place = np.array(
        [int(np.flatnonzero(r.order == label)[0]) for r, label in zip(rankings, queries.labels, strict=True)]
    )
    confidence = np.array([r.confidence for r in rankings])
    limit = np.inf if predictor.threshold is None else predictor.threshold
    firsts = queries.first_rows + [r.order[0] for r in rankings]
    tried = np.diff(queries.starts) >= predictor.fewest_candidates
    remembered = test["memory"].to_numpy()[firsts] >= 1
    return Scored(
        first_right=(place == 0).astype(float),
        in_five=(place < 5).astype(float),
        confidence=confidence,
        automatic=(confidence >= limit) & (tried | remembered),
        companies=test["company_id"].to_numpy()[queries.starts[:-1]],
    )


def replayed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the test companies' decisions with the whole history of their moments."""
    return table[(table["fold"] == "test") & (table["variant"] == "replay")]


def evaluate(
    predictor: MappingPredictor, baselines: Mapping[str, MappingPredictor], table: pd.DataFrame
) -> Evaluation:
    """Measure on the test companies.

    Raises:
        ValueError: there are no test companies.
    """
    test = replayed(table)
    if test.empty:
        raise ValueError("the feature table has no test companies; import more companies")
    ours = score(predictor, test)
    others = {name: score(baseline, test) for name, baseline in baselines.items()}
    best = max(others, key=lambda name: others[name].first_right.mean())
    thinned = table[(table["fold"] == "test") & (table["variant"] == "thinned")]
    curve = cold_start({"ours": predictor, best: baselines[best]}, thinned)
    return Evaluation(
        figures=_figures(ours, best, others[best]),
        plots=_plots(ours, others, test) | {"cold_start": _cold_start_plot(curve)},
        tables={
            "worst_mistakes": worst_mistakes(predictor, test),
            "by_company": _by_company(ours, others[best]),
            SLICES: _slices(ours, test),
            "cold_start": curve,
        },
    )


def _figures(ours: Scored, best: str, other: Scored) -> tuple[Figure, ...]:
    n = len(ours.first_right)

    def figure(name: str, interval: Interval, baseline_value: float | None, count: int = n) -> Figure:
        beside = best if baseline_value is not None else None
        return Figure(
            name=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            n=count,
            baseline=beside,
            baseline_value=baseline_value,
        )

    companies = ours.companies
    automatic = int(ours.automatic.sum())
    ece = expected_calibration_error(ours.confidence, ours.first_right)
    other_ece = expected_calibration_error(other.confidence, other.first_right)
    return (
        figure("top1", cluster_mean(ours.first_right, companies), float(other.first_right.mean())),
        figure("top5", cluster_mean(ours.in_five, companies), float(other.in_five.mean())),
        figure("top1_gain", cluster_mean(ours.first_right - other.first_right, companies), 0.0),
        Figure(name="ece", value=ece, n=n, baseline=best, baseline_value=other_ece),
        figure(
            "auto_map_coverage", cluster_mean(ours.automatic.astype(float), companies), float(other.automatic.mean())
        ),
        figure(
            "auto_map_right",
            cluster_mean(ours.first_right[ours.automatic], companies[ours.automatic]),
            None,
            automatic,
        )
        if automatic
        else Figure(name="auto_map_right", value=None, n=0),
    )


def _slices(ours: Scored, test: pd.DataFrame) -> pd.DataFrame:
    queries = test.drop_duplicates("query")
    by = {name: queries[name].to_numpy(object) for name in SLICED_BY if name in queries}
    return sliced("top1", ours.first_right, ours.companies, by)


def _plots(ours: Scored, others: dict[str, Scored], test: pd.DataFrame) -> dict[str, bytes]:
    chosen = None
    if ours.automatic.any():
        chosen = (float(ours.automatic.mean()), float(ours.first_right[ours.automatic].mean()))
    curves = {"ours": (ours.confidence, ours.first_right)}
    curves |= {name: (scored.confidence, scored.first_right) for name, scored in others.items()}
    industries = test.drop_duplicates("query")["industry"].to_numpy()
    by_industry = {}
    for industry in sorted(set(industries)):
        chosen_rows = industries == industry
        interval = cluster_mean(ours.first_right[chosen_rows], ours.companies[chosen_rows])
        by_industry[f"{industry} (n={int(chosen_rows.sum())})"] = (interval.value, interval.low, interval.high)
    return {
        "reliability": reliability_plot(ours.confidence, ours.first_right, title="Unseen companies: reliability"),
        "precision_coverage": precision_coverage_plot(
            curves, title="Unseen companies: precision against coverage", target=TARGET_RIGHT, chosen=chosen
        ),
        "top1_by_industry": bar_plot(by_industry, title="Unseen companies: top-1 by industry", xlabel="top-1"),
    }


def cold_start(predictors: Mapping[str, MappingPredictor], thinned: pd.DataFrame) -> pd.DataFrame:
    """Return how each predictor does with little history: one row a method and share of the history kept.

    Columns: method, share, n, top1, low, high, automatic (share), right (share of the automatic), ece.
    """
    rows = []
    for name, predictor in predictors.items():
        for share, part in thinned.groupby("share", sort=True):
            scored = score(predictor, part)
            top1 = cluster_mean(scored.first_right, scored.companies)
            rows.append(
                {
                    "method": name,
                    "share": share,
                    "n": len(scored.first_right),
                    "top1": round(top1.value, 3),
                    "low": round(top1.low, 3),
                    "high": round(top1.high, 3),
                    "automatic": round(float(scored.automatic.mean()), 3),
                    "right": round(float(scored.first_right[scored.automatic].mean()), 3)
                    if scored.automatic.any()
                    else None,
                    "ece": round(expected_calibration_error(scored.confidence, scored.first_right), 3),
                }
            )
    return pd.DataFrame(rows)


def _cold_start_plot(curve: pd.DataFrame) -> bytes:
    lines = {
        str(name): (
            part["share"].to_numpy(),
            part["top1"].to_numpy(),
            part["low"].to_numpy(),
            part["high"].to_numpy(),
        )
        for name, part in curve.groupby("method", sort=False)
    }
    return line_plot(lines, title="Unseen companies: top-1 with little history", xlabel="share kept", ylabel="top-1")


def worst_mistakes(predictor: MappingPredictor, test: pd.DataFrame) -> pd.DataFrame:
    """Return the wrong first suggestions of which the model was surest."""
    queries = Queries.of(test)
    rows = []
    for ranking, label, start in zip(predictor.rank_table(test), queries.labels, queries.starts[:-1], strict=True):
        if ranking.order[0] == label:
            continue
        wrong, right = test.iloc[start + ranking.order[0]], test.iloc[start + label]
        rows.append(
            {
                "company": right["company_id"],
                "code": right["source_code"],
                "name": right["source_name"],
                "suggested": f"{wrong['candidate']} {wrong['candidate_name']}",
                "decided": f"{right['candidate']} {right['candidate_name']}",
                "confidence": round(ranking.confidence, 3),
                "history": int(right["n_history"]),
            }
        )
    frame = pd.DataFrame(rows, columns=["company", "code", "name", "suggested", "decided", "confidence", "history"])
    return frame.sort_values("confidence", ascending=False, kind="stable").head(WORST_SHOWN)


def _by_company(ours: Scored, other: Scored) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "company": ours.companies,
            "top1": ours.first_right,
            "top5": ours.in_five,
            "baseline_top1": other.first_right,
            "automatic": ours.automatic,
        }
    )
    grouped = frame.groupby("company")
    return grouped.mean().round(3).assign(n=grouped.size()).reset_index()
