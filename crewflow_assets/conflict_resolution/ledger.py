"""The conflicts of some companies within one transaction: what stands, what ends, what is decided.

The companies' rows are locked, in one order, so that two people at once, a person and the model, or an edit and a
decision are serialised. What a decision makes a side hold follows from the decision that stands alone (``holds``);
commands are the differences. Events and commands are collected and written at once when the ledger is closed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.contract import Resolution, Value
from crewflow_assets.conflict_resolution.journal import Journal
from crewflow_assets.conflict_resolution.standing import (
    AGREED,
    OVERRODE,
    REOPENED,
    RESOLVED,
    Method,
    ResolutionState,
    holds,
    snapshot,
    winner,
)
from crewflow_assets.errors import NotFoundError
from crewflow_assets.outbox.queue import command_key
from crewflow_assets.store.audit import new_decision_id
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import Company


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision to take: what should stand (``value`` is of use with ``manual`` alone), who says so and why."""

    action: Resolution
    value: Value | None = None
    method: Method
    decided_by: str
    confidence: float | None = None
    reason: str | None = None
    model_version: str | None = None
    prediction_id: str | None = None
    propensity: float = 0.0


class ConflictLedger:
    """Conflicts of companies whose rows are locked, with what their decisions write."""

    def __init__(self, session: Session, companies: Collection[str], at: datetime) -> None:
        """Lock the companies.

        Raises:
            NotFoundError: a company is unknown.
        """
        self.session = session
        self.at = at
        self.companies = sorted(set(companies))
        self.journal = Journal(session, at)
        for part in batched(self.companies):
            locked = select(Company.id).where(Company.id.in_(part)).order_by(Company.id).with_for_update()
            if missing := set(part) - set(session.scalars(locked)):
                raise NotFoundError(f"company {min(missing)!r} is unknown; import its chart or cost codes first")

    def conflict(self, company_id: str, conflict_id: str) -> Conflict:
        """Return a conflict.

        Raises:
            NotFoundError: the company has no such conflict.
        """
        found = self.session.scalar(
            select(Conflict).where(Conflict.company_id == company_id, Conflict.conflict_id == conflict_id)
        )
        if found is None:
            raise NotFoundError(
                f"company {company_id!r} has no conflict {conflict_id!r}; report it with POST /v1/conflicts first"
            )
        return found

    def standing(self, conflict: Conflict) -> ConflictResolution | None:
        """Return the resolution that is in force."""
        if conflict.decision_id is None:
            return None
        return self.session.get_one(ConflictResolution, conflict.decision_id)

    def resolve(
        self, conflict: Conflict, verdict: Verdict, *, taken_elsewhere_at: datetime | None = None
    ) -> ConflictResolution:
        """Let a decision stand in place of the one that stood; with audit row, event and commands.

        Args:
            conflict: Of a company that this ledger has locked.
            verdict: The decision.
            taken_elsewhere_at: When it was taken, and carried out, elsewhere: nobody is told. None for a decision
                that is taken here and now.
        """
        standing = self.standing(conflict)
        before, held = snapshot(conflict, standing), holds(conflict, standing)
        if standing is not None:
            self._end(standing, ResolutionState.SUPERSEDED, by=verdict.decided_by, reason="decided again")
        judged = self._review(conflict, standing, verdict)
        resolution = ConflictResolution(
            id=new_decision_id(),
            company_id=conflict.company_id,
            conflict=conflict.id,
            conflict_type=conflict.conflict_type,
            action=verdict.action,
            value=verdict.value if verdict.action == "manual" else winner(conflict, verdict.action),
            method=verdict.method,
            state=ResolutionState.IN_FORCE.value,
            decided_by=verdict.decided_by,
            decided_at=taken_elsewhere_at or self.at,
            confidence=verdict.confidence,
            reason=verdict.reason,
            model_version=verdict.model_version,
            prediction_id=verdict.prediction_id,
            propensity=judged.propensity if judged is not None and conflict.blind else verdict.propensity,
        )
        blind, conflict.blind = conflict.blind, False
        conflict.state, conflict.decision_id, conflict.reopened_reason = RESOLVED, resolution.id, None
        self.session.add(resolution)
        self.journal.audit(conflict, resolution, "conflict.resolve", verdict.decided_by, before)
        if taken_elsewhere_at is None:
            self.journal.tell(conflict, held, holds(conflict, resolution), resolution.id)
            self.journal.decision(conflict, resolution, "resolve", verdict.decided_by, blind=blind)
        return resolution

    def withhold(self, conflict: Conflict, verdict: Verdict) -> ConflictResolution:
        """Note an automatic decision that is on purpose not carried out; a person decides without seeing it."""
        before = snapshot(conflict, None)
        resolution = ConflictResolution(
            id=new_decision_id(),
            company_id=conflict.company_id,
            conflict=conflict.id,
            conflict_type=conflict.conflict_type,
            action=verdict.action,
            value=winner(conflict, verdict.action),
            method=verdict.method,
            state=ResolutionState.WITHHELD.value,
            decided_by=verdict.decided_by,
            decided_at=self.at,
            confidence=verdict.confidence,
            reason=verdict.reason,
            model_version=verdict.model_version,
            prediction_id=verdict.prediction_id,
            propensity=verdict.propensity,
        )
        conflict.blind = True
        self.session.add(resolution)
        self.journal.audit(conflict, resolution, "conflict.withhold", verdict.decided_by, before)
        return resolution

    def confirm(self, conflict: Conflict, resolution: ConflictResolution, *, by: str) -> None:
        """Note that a person looked at what was decided and agrees."""
        before = snapshot(conflict, resolution)
        resolution.review, resolution.reviewed_at, resolution.reviewed_by = AGREED, self.at, by
        self.journal.audit(conflict, resolution, "conflict.confirm", by, before)
        self.journal.decision(conflict, resolution, "resolve", by, method="person")

    def take_back(self, conflict: Conflict, resolution: ConflictResolution, *, by: str) -> None:
        """Undo the resolution that stands: both sides hold again what they held, and a person decides."""
        before, held = snapshot(conflict, resolution), holds(conflict, resolution)
        self._end(resolution, ResolutionState.UNDONE, by=by, reason="taken back")
        if resolution.method == "model":
            resolution.review, resolution.reviewed_at, resolution.reviewed_by = OVERRODE, self.at, by
        self._reopen(conflict, f"{resolution.decided_by}'s decision was taken back by {by}")
        self.journal.tell(conflict, held, holds(conflict, None), command_key(resolution.id, "undo"))
        self.journal.audit(conflict, resolution, "conflict.undo", by, before)
        self.journal.decision(conflict, resolution, "undo", by)

    def reopen(self, conflict: Conflict, *, by: str, reason: str, state: ResolutionState, **changes: Any) -> None:
        """Re-open a conflict whose ground has changed, or whose decision a side refused; nobody is told.

        Args:
            conflict: Of a company that this ledger has locked.
            by: Who or what changed it.
            reason: Why, for people.
            state: How the resolution that stood has ended.
            changes: Columns of the conflict with what is now known; else a side's value is what it was told to hold.
        """
        standing = self.standing(conflict)
        before, held = snapshot(conflict, standing), holds(conflict, standing)
        if standing is not None:
            self._end(standing, state, by=by, reason=reason)
            if state == ResolutionState.UNDONE and standing.method == "model":
                standing.review, standing.reviewed_at, standing.reviewed_by = OVERRODE, self.at, by
        conflict.crewflow_value, conflict.external_value = held["crewflow"], held["external"]
        for name, value in changes.items():
            setattr(conflict, name, value)
        self._reopen(conflict, reason)
        self.journal.audit(conflict, standing, "conflict.reopen", by, before)

    def change(self, conflict: Conflict, action: str, *, by: str, **changes: Any) -> None:
        """Change columns of a conflict without deciding anything, with an audit row."""
        before = snapshot(conflict, self.standing(conflict))
        for name, value in changes.items():
            setattr(conflict, name, value)
        self.journal.audit(conflict, self.standing(conflict), action, by, before)

    def add(self, conflict: Conflict, *, by: str) -> None:
        """Add a conflict that nobody knew, with an audit row."""
        self.session.add(conflict)
        self.session.flush()
        self.journal.audit(conflict, None, "conflict.open", by, None)

    def close(self) -> None:
        """Write what was collected: audit rows, events, commands."""
        self.session.flush()
        self.journal.write()

    def _end(self, resolution: ConflictResolution, state: ResolutionState, *, by: str, reason: str) -> None:
        resolution.state = state.value
        resolution.ended_at, resolution.ended_by, resolution.ended_reason = self.at, by, reason

    def _reopen(self, conflict: Conflict, reason: str) -> None:
        conflict.state, conflict.decision_id, conflict.reopened_reason = REOPENED, None, reason

    def _review(
        self, conflict: Conflict, standing: ConflictResolution | None, verdict: Verdict
    ) -> ConflictResolution | None:
        """Compare a person's decision with the automatic one that stood, or that was withheld, and return that."""
        judged = standing
        if conflict.blind:
            withheld = (
                ConflictResolution.conflict == conflict.id,
                ConflictResolution.state == ResolutionState.WITHHELD.value,
                ConflictResolution.review.is_(None),
            )
            judged = self.session.scalar(select(ConflictResolution).where(*withheld))
        if judged is None or judged.method != "model" or verdict.method != "person":
            return None
        judged.review = AGREED if judged.action == verdict.action else OVERRODE
        judged.reviewed_at, judged.reviewed_by = self.at, verdict.decided_by
        return judged


def conflicts_named(session: Session, company_id: str, ids: Iterable[str]) -> dict[str, Conflict]:
    """Return those of a company's conflicts that are known."""
    wanted: Sequence[str] = sorted(set(ids))
    return {
        row.conflict_id: row
        for part in batched(wanted)
        for row in session.scalars(
            select(Conflict).where(Conflict.company_id == company_id, Conflict.conflict_id.in_(part))
        )
    }
