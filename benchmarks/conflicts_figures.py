"""The figures of the conflict benchmark: accuracy, coverage, share right, calibration, intervals by group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.conflicts_data import Dataset
from benchmarks.conflicts_methods import Asked
from crewflow_assets.arrays import AnyFloats, Bools, Objects
from crewflow_assets.evaluation.calibration import TARGET_RIGHT, expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_mean


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A method on every conflict of a data set, each asked while its group was held out."""

    dataset: str
    method: str
    confidence: AnyFloats
    right: AnyFloats
    automatic: Bools
    clusters: Objects
    accuracy: Interval
    coverage: Interval
    share_right: Interval | None
    """Of the automatic ones; None where nothing is automatic."""
    ece: float

    @property
    def keeps_promise(self) -> bool:
        """Whether nothing is automatic, or 95 % right lies within or below the interval."""
        return self.share_right is None or max(self.share_right.value, self.share_right.high) >= TARGET_RIGHT

    def as_json(self) -> dict[str, Any]:
        """Return the record of the JSON file."""
        return {
            "dataset": self.dataset,
            "method": self.method,
            "n": len(self.right),
            "accuracy": round(self.accuracy.value, 4),
            "coverage": round(self.coverage.value, 4),
            "share_right": None if self.share_right is None else round(self.share_right.value, 4),
            "share_right_low": None if self.share_right is None else _finite(self.share_right.low),
            "ece": round(self.ece, 4),
        }


def judge(data: Dataset, method: str, asked: Asked) -> Judged:
    """Compare what a method says of every conflict with what was decided."""
    right = (asked.probability.argmax(axis=1) == data.labels).astype(float)
    confidence, automatic, clusters = asked.probability.max(axis=1), asked.automatic, data.clusters
    return Judged(
        dataset=data.name,
        method=method,
        confidence=confidence,
        right=right,
        automatic=automatic,
        clusters=clusters,
        accuracy=cluster_mean(right, clusters),
        coverage=cluster_mean(automatic.astype(float), clusters),
        share_right=cluster_mean(right[automatic], clusters[automatic]) if automatic.any() else None,
        ece=expected_calibration_error(confidence, right),
    )


def coverage_gain(ours: Judged, other: Judged) -> Interval:
    """Return how much more is automatic, paired by conflict, with its interval by group."""
    return cluster_mean(ours.automatic.astype(float) - other.automatic.astype(float), ours.clusters)


def print_tables(found: Mapping[str, Judged], *, ours: str, against: str) -> None:
    """Print one data set's table as Markdown, and the difference in coverage."""
    first = found[ours]
    print(f"\n## {first.dataset} (n={len(first.right)}, {len(set(first.clusters))} groups)\n")
    print("| method | accuracy | automatic | of it right | 95 % interval | ECE |\n|---|---|---|---|---|---|")
    for name, one in found.items():
        shown = f"**{name}**" if name == ours else name
        share = one.share_right
        right = "–" if share is None else f"{share.value:.3f}"
        interval = "" if share is None else f"{share.low:.3f} to {share.high:.3f}"
        cells = (f"{one.accuracy.value:.3f}", f"{one.coverage.value:.3f}", right, interval, f"{one.ece:.3f}")
        print(f"| {shown} | {' | '.join(cells)} |")
    gain = coverage_gain(first, found[against])
    print(f"\nAutomatic, {ours} minus {against}: {gain.value:+.3f}, interval {gain.low:+.3f} to {gain.high:+.3f}.")


def print_summary(results: Iterable[Mapping[str, Judged]], *, ours: str, against: str) -> None:
    """Print on how many data sets the promise holds and ours does more."""
    results = list(results)
    kept = sum(found[ours].keeps_promise for found in results)
    more = sum(coverage_gain(found[ours], found[against]).low > 0 for found in results)
    print(
        f"\nOf {len(results)} data sets, {kept} keep the promise (nothing automatic, or 95 % right within the "
        f"interval); more is automatic than with {against} on {more} (interval above 0)."
    )


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
