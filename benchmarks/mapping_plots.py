"""Plots of the mapping benchmark on real lists."""

from pathlib import Path

import numpy as np

from benchmarks.mapping_figures import FoldResult
from crewflow_assets.evaluation.calibration import TARGET_RIGHT
from crewflow_assets.evaluation.plots import bar_plot, precision_coverage_plot, reliability_plot


def write_plots(results: list[FoldResult], folder: Path) -> None:
    """Write, for each data set, ours against the best baseline by firm, reliability, and precision by coverage."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset in dict.fromkeys(result.dataset for result in results):
        folds = [result for result in results if result.dataset == dataset]
        stem = f"mapping-{dataset.replace('+', '-').replace('_', '-')}"
        gains = {f"{r.fold} (n={r.records[0].n})": (r.gain.value, r.gain.low, r.gain.high) for r in folds}
        plot = bar_plot(gains, title=f"{dataset}: ours minus best baseline", xlabel="difference in top-1")
        (folder / f"{stem}-gain.png").write_bytes(plot)
        curves = {}
        for method in (folds[0].ours, "nearest labelled", "fixed head (PRD)"):
            asked = [r.asked[method] for r in folds if method in r.asked]
            curves[method] = (
                np.concatenate([a.confidence for a in asked]),
                np.concatenate([a.first_right for a in asked]),
            )
        sure, right = curves[folds[0].ours]
        (folder / f"{stem}-reliability.png").write_bytes(reliability_plot(sure, right, title=f"{dataset}: ours"))
        plot = precision_coverage_plot(curves, title=dataset, target=TARGET_RIGHT, chosen=None)
        (folder / f"{stem}-precision.png").write_bytes(plot)
