"""Whether a candidate becomes champion: the gates, and the comparison with the present champion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewflow_assets.evaluation.intervals import Interval, cluster_mean
from crewflow_assets.spec import Evaluation, Gate, ModelSpec

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


def decide_promotion(
    spec: ModelSpec, evaluation: Mapping[str, Any], *, number: int, barred: str | None = None
) -> tuple[str | None, str]:
    """Return which alias the candidate gets, and why; no alias when the best baseline must stand in for it.

    Args:
        spec: The model, with δ.
        evaluation: ``present`` (the champion's number, or None), ``failed`` (gates), ``compared`` with the
            champion (its label, the gain and its lower bound) and ``outdated`` (why the champion cannot be used any
            more, or None), as the evaluation asset hands them on.
        number: The candidate's number.
        barred: Why a person does not want this version, if one does not.
    """
    present, failed, compared = evaluation["present"], evaluation["failed"], evaluation["compared"]
    outdated = evaluation["outdated"]
    if present == number:
        return "champion", "it is the champion already"
    if barred is not None:
        return "challenger", barred
    if failed:
        why = f"gates not met: {', '.join(failed)}"
        return (None if present is None or outdated else "challenger"), why
    if outdated:
        return "champion", f"all gates met, and the champion cannot be used any more: {outdated}"
    if compared is None:
        return "champion", "all gates met, and there was no champion"
    bound = f"gain over {compared['champion']} {compared['gain']:+.4f}, lower 95 % bound {compared['low']:+.4f}"
    if compared["low"] > -spec.tolerance:
        return "champion", f"all gates met; {bound} is above −{spec.tolerance:g}"
    return "challenger", f"{bound} is not above −{spec.tolerance:g}"
