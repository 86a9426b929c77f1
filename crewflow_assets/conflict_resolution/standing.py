"""What stands of a conflict: its states, what each side holds under a decision, and how the audit log keeps it."""

from enum import StrEnum
from typing import Any, Literal

from crewflow_assets.conflict_resolution.contract import Value
from crewflow_assets.errors import ConflictError
from crewflow_assets.ingest.event_kinds import Side
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution

ACTOR = "conflict_resolution"
OPEN, RESOLVED, REOPENED = "open", "resolved", "reopened"
SIDES: tuple[Side, ...] = ("crewflow", "external")
AGREED, OVERRODE = "agreed", "overrode"

Method = Literal["person", "rule", "model"]


class ResolutionState(StrEnum):
    """Where a resolution stands."""

    IN_FORCE = "in_force"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"
    UNDONE = "undone"
    REFUSED = "refused"
    OVERTAKEN = "overtaken"


Held = dict[Side, Value | None]
"""What each side holds, or should."""


def holds(conflict: Conflict, standing: ConflictResolution | None) -> Held:
    """Return what each side holds under the resolution that stands, or held before any (None)."""
    original: Held = {"crewflow": conflict.crewflow_value, "external": conflict.external_value}
    if standing is None or (standing.action == "manual" and standing.value is None):
        return original
    return {"crewflow": standing.value, "external": standing.value}


def winner(conflict: Conflict, action: str) -> Value | None:
    """Return the value that an action lets stand; None for ``manual``, or where that side has no such record."""
    return {"use_crewflow": conflict.crewflow_value, "use_external": conflict.external_value}.get(action)


def record_key(conflict: Conflict) -> str:
    """Return the outbox's name of the record, whose commands go in order."""
    if conflict.record_id is None:
        return f"conflict/{conflict.conflict_id}"
    return f"record/{conflict.record_type}/{conflict.record_id}"


def snapshot(conflict: Conflict, standing: ConflictResolution | None) -> dict[str, Any]:
    """Return what the audit log keeps of a conflict: enough to say where it stood."""
    return {
        "state": conflict.state,
        "crewflow_value": conflict.crewflow_value,
        "external_value": conflict.external_value,
        "crewflow_version": conflict.crewflow_version,
        "external_version": conflict.external_version,
        "blind": conflict.blind,
        "edited_at": conflict.edited_at.isoformat() if conflict.edited_at else None,
        "decision_id": conflict.decision_id,
        "action": standing.action if standing else None,
        "value": standing.value if standing else None,
        "method": standing.method if standing else None,
        "decided_by": standing.decided_by if standing else None,
        "reopened_reason": conflict.reopened_reason,
    }


def inputs_of(conflict: Conflict) -> dict[str, Any]:
    """Return what the model is asked with, as JSON values."""
    moments = ("crewflow_updated_at", "external_updated_at", "last_sync_timestamp")
    asked: dict[str, Any] = {
        name: getattr(conflict, name)
        for name in ("conflict_type", "crewflow_value", "external_value", "worker_id", "project_id", "system")
    }
    asked["timecard_date"] = conflict.timecard_date.isoformat()
    for name in moments:
        moment = getattr(conflict, name)
        asked[name] = moment.isoformat() if moment else None
    return asked


def refuse_edited(conflict: Conflict) -> None:
    """Refuse to decide on a record whose present value is not known here.

    Raises:
        ConflictError: someone edited the record since.
    """
    if conflict.edited_at is not None:
        raise ConflictError(
            f"the record of conflict {conflict.conflict_id!r} was edited since, at {conflict.edited_at.isoformat()}; "
            "report the conflict anew with the record's present values and versions"
        )
