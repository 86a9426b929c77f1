"""What a ledger writes beside its rows: audit rows, events and commands, collected and then written at once."""

from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import insert
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.contract import Resolution
from crewflow_assets.conflict_resolution.standing import (
    SIDES,
    Held,
    Method,
    inputs_of,
    record_key,
    snapshot,
)
from crewflow_assets.ingest.event_kinds import ConflictDecision, EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.outbox.queue import NewCommand, command_key, enqueue_many
from crewflow_assets.store.audit import new_decision_id
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.tables import AuditEntry

COMMAND = "conflict.set"


class Journal:
    """Of one transaction."""

    def __init__(self, session: Session, at: datetime) -> None:
        self.session = session
        self.at = at
        self._commands: list[NewCommand] = []
        self._events: list[EventIn] = []
        self._audit: list[dict[str, Any]] = []

    def event(self, event: EventIn) -> None:
        """Keep an event."""
        self._events.append(event)

    def write(self) -> None:
        """Write what was collected."""
        if self._audit:
            self.session.connection().execute(insert(AuditEntry), self._audit)
        if self._events:
            record_events(self.session, self._events, handlers={})
        enqueue_many(self.session, self._commands)
        self._audit.clear()
        self._events.clear()
        self._commands.clear()

    def tell(self, conflict: Conflict, held: Held, to_hold: Held, cause: str) -> None:
        """Tell each side what it should hold now and does not; ``cause`` names the decision in the commands' keys."""
        for side in SIDES:
            if held[side] == to_hold[side]:
                continue
            follows = getattr(conflict, f"{side}_command")
            key = command_key(cause, side)
            self._commands.append(
                NewCommand(
                    company_id=conflict.company_id,
                    record_key=record_key(conflict),
                    command=COMMAND,
                    payload={
                        "conflict_id": conflict.conflict_id,
                        "conflict_type": conflict.conflict_type,
                        "decision_id": conflict.decision_id,
                        "side": side,
                        "system": conflict.system,
                        "record_type": conflict.record_type,
                        "record_id": conflict.record_id,
                        "worker_id": conflict.worker_id,
                        "project_id": conflict.project_id,
                        "timecard_date": conflict.timecard_date.isoformat(),
                        "value": to_hold[side],
                        "previous_value": held[side],
                        "expected_version": getattr(conflict, f"{side}_version"),
                        "follows": follows,
                    },
                    idempotency_key=key,
                )
            )
            setattr(conflict, f"{side}_command", key)

    def decision(
        self,
        conflict: Conflict,
        resolution: ConflictResolution,
        action: Literal["resolve", "undo"],
        by: str,
        *,
        blind: bool = False,
        method: Method | None = None,
    ) -> None:
        """Keep a decision, or its undoing, as an event; ``method`` if someone else than the decider judged it."""
        value = resolution.value
        decision = ConflictDecision(
            conflict_id=conflict.conflict_id,
            conflict_type=conflict.conflict_type,
            action=action,
            resolution=cast(Resolution, resolution.action),
            value=value if isinstance(value, float | int) else None,
            text_value=value if isinstance(value, str) else None,
            method=method or cast(Method, resolution.method),
            decided_by=by,
            confidence=resolution.confidence,
            model_version=resolution.model_version,
            prediction_id=resolution.prediction_id,
            blind=blind,
            propensity=resolution.propensity or None,
        )
        first = action == "resolve" and method is None
        self.event(
            EventIn(
                event_id=resolution.id if first else new_decision_id(),
                kind="conflict_decision",
                company_id=conflict.company_id,
                occurred_at=self.at,
                payload=decision.model_dump(mode="json"),
            )
        )

    def audit(
        self,
        conflict: Conflict,
        resolution: ConflictResolution | None,
        action: str,
        by: str,
        before: dict[str, Any] | None,
    ) -> None:
        """Note what became of a conflict; ``resolution`` is the decision that it is about."""
        standing = resolution if resolution is not None and conflict.decision_id == resolution.id else None
        after = snapshot(conflict, standing)
        if resolution is not None:
            after |= {"inputs": inputs_of(conflict), "about": resolution.id, "proposed": resolution.action}
        self._audit.append(
            {
                "at": self.at,
                "company_id": conflict.company_id,
                "actor": by,
                "action": action,
                "subject_type": "conflict",
                "subject_id": conflict.conflict_id,
                "before": before,
                "after": after,
                "method": resolution.method if resolution else None,
                "confidence": resolution.confidence if resolution else None,
                "model_version": resolution.model_version if resolution else None,
                "prediction_id": resolution.prediction_id if resolution else None,
            }
        )
