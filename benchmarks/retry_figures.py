"""What the retry benchmark measures: figures with intervals, records, Markdown tables and plots."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from crewflow_assets.evaluation.plots import line_plot, precision_recall_plot, reliability_plot
from crewflow_assets.retry_strategy.evaluation import STATISTICS, Judged, interval

OURS = "ours"
Results = Mapping[str, Mapping[str, Judged]]
"""What each method said of each row set."""
Lines = dict[str, tuple[Any, Any, Any, Any]]


def records(results: Results) -> list[dict[str, Any]]:
    """Return one record a row set and method: n, base_rate, and each figure with its 95 % interval."""
    found = []
    for rows, methods in results.items():
        for method, judged in methods.items():
            one: dict[str, Any] = {"rows": rows, "method": method, "n": len(judged.ok)}
            one["base_rate"] = round(float(judged.ok.mean()), 5)
            for name, statistic in STATISTICS.items():
                measured = interval(statistic, judged)
                for end, value in (("", measured.value), ("_low", measured.low), ("_high", measured.high)):
                    one[name + end] = None if isnan(value) else round(value, 5)
            found.append(one)
    return found


def print_records(found: list[dict[str, Any]]) -> None:
    """Print a table a row set."""
    for rows in dict.fromkeys(one["rows"] for one in found):
        mine = [one for one in found if one["rows"] == rows]
        print(f"\n### {rows} (n={mine[0]['n']}, {mine[0]['base_rate']:.3f} succeeded)\n")
        print("| method | PR-AUC | Brier | ECE |")
        print("|---|---|---|---|")
        for one in mine:
            name = f"**{one['method']}**" if one["method"] == OURS else one["method"]
            print(f"| {name} | {_cell(one, 'pr_auc', 3)} | {_cell(one, 'brier', 4)} | {_cell(one, 'ece', 4)} |")


def _cell(one: Mapping[str, Any], name: str, digits: int) -> str:
    value, low, high = (one[name + end] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def write_plots(results: Results, recovery: Lines, folder: Path) -> None:
    """Write reliability of ours and precision against recall for each row set, and the recovery curves."""
    folder.mkdir(parents=True, exist_ok=True)
    for rows, methods in results.items():
        stem = "retry-" + rows.replace(" ", "-").replace(",", "")
        ours = methods[OURS]
        plot = reliability_plot(
            ours.probability, ours.ok, title=f"{rows}: reliability", xlabel="said to succeed", ylabel="succeeded"
        )
        (folder / f"{stem}-reliability.png").write_bytes(plot)
        curves: dict[str, Any] = {name: (judged.probability, judged.ok) for name, judged in methods.items()}
        (folder / f"{stem}-precision-recall.png").write_bytes(precision_recall_plot(curves, title=rows))
    if recovery:
        plot = line_plot(
            recovery, title="outages: over by then", xlabel="minutes since the beginning, log10", ylabel="share over"
        )
        (folder / "retry-recovery.png").write_bytes(plot)


def recovery_lines(methods: Mapping[str, Judged], minutes: "np.ndarray[Any, Any]") -> Lines:
    """Return the share of outages over by each delay, as each method says and as it was, with its interval."""
    from crewflow_assets.evaluation.intervals import cluster_mean

    at = np.unique(minutes)
    lines: Lines = {}
    was = [cluster_mean(methods[OURS].ok[minutes == m], methods[OURS].entity[minutes == m]) for m in at]
    for name, judged in methods.items():
        said = np.array([judged.probability[minutes == m].mean() for m in at])
        lines[name] = (np.log10(at), said, said, said)
    value, low, high = (np.array([getattr(one, end) for one in was]) for end in ("value", "low", "high"))
    lines["was"] = (np.log10(at), value, low, high)
    return lines
