"""Plots of the conflict benchmark."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.conflicts_figures import Judged
from benchmarks.conflicts_methods import OURS, PLAIN
from crewflow_assets.evaluation.calibration import TARGET_RIGHT
from crewflow_assets.evaluation.plots import bar_plot, precision_coverage_plot, reliability_plot


def write_plots(results: Iterable[Mapping[str, Judged]], folder: Path) -> None:
    """Write, for each data set, coverage by method, precision by coverage, and the reliability of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for found in results:
        name = found[OURS].dataset
        stem = folder / f"conflicts-{name.replace('_', '-')}"
        coverage = {
            method: (one.coverage.value, one.coverage.low, one.coverage.high) for method, one in found.items()
        }
        plots = {
            "coverage": bar_plot(coverage, title=f"{name}: share resolved automatically", xlabel="coverage"),
            "reliability": reliability_plot(found[OURS].confidence, found[OURS].right, title=f"{name}: ours"),
            "precision": precision_coverage_plot(
                {method: (found[method].confidence, found[method].right) for method in (OURS, PLAIN)},
                title=name,
                target=TARGET_RIGHT,
                chosen=_chosen(found[OURS]),
            ),
        }
        for kind, plot in plots.items():
            stem.with_name(f"{stem.name}-{kind}.png").write_bytes(plot)


def _chosen(one: Judged) -> tuple[float, float] | None:
    return None if one.share_right is None else (one.coverage.value, one.share_right.value)
