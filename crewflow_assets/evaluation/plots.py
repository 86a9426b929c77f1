"""Plots that people judge models by, as PNG bytes: in one style, without a display."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crewflow_assets.arrays import AnyFloats
from crewflow_assets.evaluation.calibration import precision_by_coverage, reliability

if TYPE_CHECKING:  # services import this module and draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


OURS, BASELINE, GUIDE = "#1f6feb", "#8b949e", "#d0d7de"
OTHERS = ("#bc4c00", "#8250df", "#1a7f37", "#cf222e", "#57606a")
"""Colours of the methods beside ours."""


def _axes(title: str, xlabel: str, ylabel: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), dpi=110)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GUIDE, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _color(place: int) -> str:
    return OURS if place == 0 else OTHERS[(place - 1) % len(OTHERS)]


def _png(figure: "Figure") -> bytes:
    buffer = BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def reliability_plot(
    confidence: AnyFloats,
    right: AnyFloats,
    *,
    counts: AnyFloats | None = None,
    title: str,
    xlabel: str = "confidence",
    ylabel: str = "share right",
) -> bytes:
    """Plot share right against confidence in ten equally filled bins; ``counts`` as in ``reliability``."""
    said, was, count = reliability(confidence, right, counts=counts)
    figure, axes = _axes(title, xlabel, ylabel)
    axes.plot([0, 1], [0, 1], color=BASELINE, linestyle="--", linewidth=1, label="means what it says")
    error = 1.96 * np.sqrt(np.maximum(was * (1 - was), 1e-4) / count)
    axes.errorbar(said, was, yerr=error, color=OURS, fmt="o-", capsize=2, label="champion candidate")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def precision_coverage_plot(
    curves: dict[str, tuple[AnyFloats, AnyFloats]], *, title: str, target: float, chosen: tuple[float, float] | None
) -> bytes:
    """Plot precision against coverage for named (confidence, right) pairs; the first is ours.

    ``chosen`` is the (coverage, precision) of the threshold in force.
    """
    figure, axes = _axes(title, "coverage (share made automatic)", "share right")
    for place, (name, (confidence, right)) in enumerate(curves.items()):
        coverage, precision = precision_by_coverage(confidence, right)
        skip = max(1, len(coverage) // 50)
        color = _color(place)
        axes.plot(coverage[skip:], precision[skip:], label=name, color=color, linewidth=2 if place == 0 else 1.2)
    axes.axhline(target, color=BASELINE, linestyle="--", linewidth=1)
    axes.text(0.005, target + 0.004, f"target {target:.0%}", color=BASELINE, fontsize=8)
    if chosen is not None:
        axes.plot(*chosen, "o", color=OURS, markersize=8, label="threshold in force")
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def precision_recall_plot(curves: dict[str, tuple[AnyFloats, AnyFloats]], *, title: str) -> bytes:
    """Plot precision against recall for named (probability, happened) pairs; the first is ours."""
    figure, axes = _axes(title, "recall (share of failures told of)", "precision (share of alarms right)")
    for place, (name, (probability, happened)) in enumerate(curves.items()):
        order = np.argsort(-probability, kind="stable")
        ends = np.r_[np.flatnonzero(np.diff(probability[order])), len(order) - 1]  # ties are told of together
        hits = np.cumsum(happened[order])[ends]
        color = _color(place)
        axes.plot(
            hits / max(float(happened.sum()), 1),
            hits / (ends + 1),
            label=name,
            color=color,
            linewidth=2 if place == 0 else 1.2,
            marker="o" if len(ends) < 4 else None,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def line_plot(
    lines: dict[str, tuple[NDArray[Any], AnyFloats, AnyFloats, AnyFloats]], *, title: str, xlabel: str, ylabel: str
) -> bytes:
    """Plot named lines with their intervals (x: numbers or days, value, low, high); the first is ours."""
    figure, axes = _axes(title, xlabel, ylabel)
    for place, (name, (x, value, low, high)) in enumerate(lines.items()):
        axes.plot(x, value, "o-", label=name, color=_color(place))
        _bounds(axes, x, low, high, _color(place))
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def control_plot(
    lines: dict[str, tuple[NDArray[Any], AnyFloats, AnyFloats]], *, title: str, xlabel: str, ylabel: str
) -> bytes:
    """Plot named statistics with the limits above which each is out of control (x: days, value, limit)."""
    figure, axes = _axes(title, xlabel, ylabel)
    for name, (x, value, limit) in lines.items():
        [line] = axes.plot(x, value, "o-", label=name, markersize=4)
        axes.plot(x, limit, color=line.get_color(), linestyle="--", linewidth=1)
        out = value >= limit
        axes.plot(x[out], value[out], "o", markersize=10, color=line.get_color(), markerfacecolor="none")
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
    axes.legend(frameon=False, fontsize=8, title="dashed: alarm", title_fontsize=8)
    return _png(figure)


def bar_plot(values: dict[str, tuple[float, float, float]], *, title: str, xlabel: str) -> bytes:
    """Plot named values with their intervals (value, low, high) as horizontal bars, the first on top."""
    figure, axes = _axes(title, xlabel, "")
    names = list(values)
    middle = np.array([values[n][0] for n in names])
    spread = np.array([[v - low, high - v] for v, low, high in values.values()]).T
    axes.barh(names, middle, xerr=np.nan_to_num(np.maximum(spread, 0)), color=OURS, ecolor=BASELINE, capsize=2)
    axes.invert_yaxis()
    return _png(figure)


def difference_plot(
    lines: dict[str, tuple[AnyFloats, AnyFloats, AnyFloats, AnyFloats]], *, title: str, xlabel: str, ylabel: str
) -> bytes:
    """Plot named differences with their bounds (x, value, low, high) around zero, x from 0 on; the first is ours."""
    figure, axes = _axes(title, xlabel, ylabel)
    axes.axhline(0, color=BASELINE, linestyle="--", linewidth=1)
    for place, (name, (x, value, low, high)) in enumerate(lines.items()):
        axes.plot(x, value, "o-", markersize=3, label=name, color=_color(place))
        _bounds(axes, x, low, high, _color(place))
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _bounds(axes: "Axes", x: NDArray[Any], low: AnyFloats, high: AnyFloats, color: str) -> None:
    """Shade what lies between bounds; of a single point, which has no width, draw the line."""
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    if len(x) == 1:
        axes.vlines(x, low, high, color=color, alpha=0.5, linewidth=3)
