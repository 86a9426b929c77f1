"""What became of recommended resolutions: what people decided."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.standing import AGREED, ResolutionState, inputs_of
from crewflow_assets.monitoring.hook import WORDS, Basis, Described, Logged, Monitored, Seen
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.database import batched

ABOUT = ("conflict_type", "worker_id", "project_id", "timecard_date")
"""What tells conflicts apart where no id is logged; values, moments and system may have become others since."""


class ConflictOutcomes(Monitored):
    """Judged by the resolutions that name a prediction: withheld ones by the blind decision, others by the choice."""

    right_means = "a person decided as recommended"
    outcome_words = f"one of {', '.join(map(repr, [*WORDS, *RESOLUTIONS]))}"

    def said(self, logged: Logged) -> float | None:
        """Return the confidence of the recommendation."""
        return float(logged.output["confidence"])

    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:
        """Read reviews of automatic decisions, blind or chosen, and people's own decisions that still count."""
        by_id = {one.id: one for one in logged}
        rows: list[Row[ConflictResolution, Conflict]] = []
        for part in batched(list(by_id)):
            rows += session.execute(
                select(ConflictResolution, Conflict)
                .join(Conflict, Conflict.id == ConflictResolution.conflict)
                .where(ConflictResolution.prediction_id.in_(part))
                .order_by(ConflictResolution.decided_at, ConflictResolution.id)
            )
        found: dict[str, Seen] = {}
        drawn = {row.conflict for row, _ in rows if row.state == ResolutionState.WITHHELD}
        for row, conflict in rows:
            one = by_id[row.prediction_id or ""]
            if not _asked_of(one, conflict):
                continue
            if row.method == "model" and row.reviewed_at is not None:
                blind = row.state == ResolutionState.WITHHELD
                found[one.id] = Seen(
                    at=row.reviewed_at,
                    outcome=str(row.review),
                    actual=float(row.review == AGREED),
                    right=row.review == AGREED,
                    basis="blind" if blind else "reviewed",
                    weight=1 / row.propensity if blind else 0.0,
                )
            elif row.method == "person" and row.state != ResolutionState.UNDONE and row.conflict not in drawn:
                found[one.id] = _decided(one, row)
        return found

    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:  # noqa: ARG002
        """Take the common words, and what stands in the end."""
        if outcome in RESOLUTIONS:
            right = outcome == logged.output["recommended_resolution"]["action"]
            return float(right), right
        said = WORDS.get(outcome)
        return None if said is None else (float(said), said)

    def automatic(self, logged: Logged) -> bool:
        """Whether it was sure enough to be resolved without asking a person."""
        return bool(logged.output["auto_resolve"])

    def described(self, logged: Logged) -> Described:
        """Describe what contradicts what, and how fresh each side is."""
        asked = logged.inputs
        ours, theirs = asked.get("crewflow_value"), asked.get("external_value")
        numbers = isinstance(ours, float | int) and isinstance(theirs, float | int)
        synced = datetime.fromisoformat(str(asked["last_sync_timestamp"]))
        worked = date.fromisoformat(str(asked["timecard_date"]))
        return {
            "conflict_type": asked["conflict_type"],
            "system": asked.get("system"),
            "missing_side": "crewflow" if ours is None else "external" if theirs is None else "none",
            "difference": float(ours) - float(theirs) if numbers else None,  # type: ignore[arg-type]
            "crewflow_value": float(ours) if isinstance(ours, float | int) else None,
            "weekday": str(worked.isoweekday()),
            "days_old": float((logged.created_at.date() - worked).days),
            "hours_since_sync": (logged.created_at - synced).total_seconds() / 3600,
            "crewflow_edit_known": "yes" if asked.get("crewflow_updated_at") else "no",
            "external_edit_known": "yes" if asked.get("external_updated_at") else "no",
        }

    def answered(self, logged: Logged) -> Described:
        """Describe the confidence and the recommendation."""
        output: Any = logged.output
        return {
            "said": self.said(logged),
            "action": output["recommended_resolution"]["action"],
            "automatic": "yes" if self.automatic(logged) else "no",
        }


def _asked_of(one: Logged, conflict: Conflict) -> bool:
    """Whether a prediction was made of the conflict; a decision may name one of another."""
    about = inputs_of(conflict)
    return one.company_id == conflict.company_id and all(one.inputs[name] == about[name] for name in ABOUT)


def _decided(one: Logged, row: ConflictResolution) -> Seen:
    right = row.action == one.output["recommended_resolution"]["action"]
    basis: Basis = "blind" if row.propensity else "decided"
    return Seen(
        at=row.decided_at,
        outcome=row.action,
        actual=float(right),
        right=right,
        basis=basis,
        weight=1 / row.propensity if row.propensity else 1.0,
    )
