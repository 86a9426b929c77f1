"""Whether a candidate becomes champion: the gates, and the comparison with the present champion."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewflow_assets.evaluation.intervals import Interval, cluster_mean
from crewflow_assets.spec import Evaluation, Gate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate, what was measured, and whether it holds."""

    gate: Gate
    measured: str
    passed: bool

    def as_row(self) -> dict[str, Any]:
        """Return it as a table row."""
        return {"gate": str(self.gate), "measured": self.measured, "passed": self.passed}


def check_gates(gates: tuple[Gate, ...], evaluation: Evaluation) -> list[GateResult]:
    """Check every gate against an evaluation.

    Raises:
        KeyError: a gate names a figure that was not measured.
    """
    results = []
    for gate in gates:
        figure = evaluation.figure(gate.figure)
        results.append(GateResult(gate, str(figure), gate.passes(figure)))
    return results


def gain(candidate: "pd.DataFrame", champion: "pd.DataFrame") -> Interval:
    """Return the mean difference of row scores, candidate minus champion, with its clustered interval.

    Raises:
        ValueError: the two were not scored on the same rows.
    """
    if candidate["cluster"].tolist() != champion["cluster"].tolist():
        raise ValueError("candidate and champion were scored on different rows")
    difference = candidate["score"].to_numpy() - champion["score"].to_numpy()
    return cluster_mean(difference, candidate["cluster"].to_numpy())
