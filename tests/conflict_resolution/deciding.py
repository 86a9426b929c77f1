"""What the tests of conflicts share: reporting them, proposals of a model, and what the store holds."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from crewflow_assets.conflict_resolution import actions, posted
from crewflow_assets.conflict_resolution.actions import Proposal
from crewflow_assets.conflict_resolution.standing import inputs_of
from crewflow_assets.conflict_resolution.switches import set_switch
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.event_kinds import ConflictRecorded, EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry, Company, OutboxCommand

COMPANY = "c-1"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def add_companies(*names: str) -> None:
    with transaction() as session:
        session.add_all(Company(id=n, name=n, industry="roofing", created_at=NOON, revision=0) for n in names)


def switch(
    mode: Any = "automatic",
    *,
    company: str = COMPANY,
    conflict_type: Any = "hours_mismatch",
    at: datetime = NOON,
    **more: Any,
) -> None:
    with transaction() as session:
        set_switch(
            session, company_id=company, conflict_type=conflict_type, mode=mode, decided_by="dana", at=at, **more
        )


def told(conflict_id: str = "x-1", **changes: Any) -> ConflictRecorded:
    known: dict[str, Any] = {
        "conflict_id": conflict_id,
        "conflict_type": "hours_mismatch",
        "values": {"crewflow": 8.0, "external": 7.5},
        "worker_id": "w-9",
        "project_id": "p-4",
        "timecard_date": "2026-03-01",
        "last_sync_timestamp": "2026-03-01T06:00:00Z",
        "record_id": f"t-{conflict_id}",
        "crewflow_version": "3",
        "external_version": "7",
    }
    return ConflictRecorded.model_validate(known | changes)


def report(conflict_id: str = "x-1", *, company: str = COMPANY, **changes: Any) -> dict[str, Any]:
    with transaction() as session:
        return actions.record(
            session, company_id=company, conflict=told(conflict_id, **changes), decided_by="backend"
        )


def proposal(conflict_id: str = "x-1", *, company: str = COMPANY, **changes: Any) -> Proposal:
    known: dict[str, Any] = {
        "inputs": inputs_of(conflict(conflict_id, company)),
        "action": "use_crewflow",
        "confidence": 0.97,
        "auto_resolve": True,
        "reason": "CrewFlow was edited last",
        "model_version": "1.3",
        "prediction_id": "p-1",
    }
    return Proposal(**(known | changes))


def automatic(
    conflict_id: str = "x-1", *, company: str = COMPANY, **changes: Any
) -> tuple[dict[str, Any], str | None]:
    proposed = proposal(conflict_id, company=company, **changes)
    with transaction() as session:
        return actions.decide_automatically(session, company_id=company, conflict_id=conflict_id, proposal=proposed)


def decide(
    conflict_id: str = "x-1", resolution: Any = "use_external", *, by: str = "dana", **more: Any
) -> dict[str, Any]:
    with transaction() as session:
        return actions.decide(
            session, company_id=COMPANY, conflict_id=conflict_id, resolution=resolution, decided_by=by, **more
        )


def undo(conflict_id: str = "x-1", *, by: str = "sam") -> dict[str, Any]:
    with transaction() as session:
        return actions.undo(session, company_id=COMPANY, conflict_id=conflict_id, decided_by=by)


def version(
    side: str, number: str, at: datetime, *, conflict_id: str = "x-1", event_id: str | None = None, **payload: Any
) -> EventIn:
    """Return a version of a conflict's record as it is posted."""
    return EventIn(
        event_id=event_id or f"v-{conflict_id}-{side}-{number}",
        kind="record_version",
        company_id=COMPANY,
        occurred_at=at,
        payload={
            "record_type": "timecard",
            "record_id": f"t-{conflict_id}",
            "side": side,
            "version": number,
            "values": {"hours": 9.0},
        }
        | payload,
    )


def post(*events: EventIn) -> None:
    with transaction() as session:
        record_events(session, events, handlers=EVENT_HANDLERS)


def refuse(command: OutboxCommand, reason: str = "the payroll period is closed") -> None:
    with transaction() as session:
        row = session.get_one(OutboxCommand, command.id)
        row.state = "refused"
        posted.reopen_refused(session, row, reason)


def deliver_all() -> None:
    with transaction() as session:
        for row in session.scalars(select(OutboxCommand).where(OutboxCommand.state == "pending")):
            row.state = "delivered"


def conflict(conflict_id: str = "x-1", company: str = COMPANY) -> Conflict:
    with reading() as session:
        return session.scalars(
            select(Conflict).where(Conflict.conflict_id == conflict_id, Conflict.company_id == company)
        ).one()


def resolutions() -> list[ConflictResolution]:
    with reading() as session:
        return list(session.scalars(select(ConflictResolution).order_by(ConflictResolution.decided_at)))


def commands(name: str = "conflict.set") -> list[OutboxCommand]:
    with reading() as session:
        return list(
            session.scalars(select(OutboxCommand).where(OutboxCommand.command == name).order_by(OutboxCommand.id))
        )


def sets() -> list[tuple[str, Any, Any]]:
    """Return side, value and expected version of each command."""
    return [(c.payload["side"], c.payload["value"], c.payload["expected_version"]) for c in commands()]


def audit(subject_type: str = "conflict") -> list[AuditEntry]:
    with reading() as session:
        of_type = select(AuditEntry).where(AuditEntry.subject_type == subject_type)
        return list(session.scalars(of_type.order_by(AuditEntry.id)))
