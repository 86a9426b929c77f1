"""One open alert for each cause: kept up to date while its trouble goes on, resolved after a quiet time.

The rule of every alert, about an integration or about a model; whom it is told, and how, is for their modules to say.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from crewflow_assets.outbox.queue import RefusalHandler
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.tables import OutboxCommand

OPEN, RESOLVED = "open", "resolved"
OUTBOX = "outbox"


class Alert(Protocol):
    """What the rule needs of an alert."""

    state: str
    detail: str
    last_seen_at: datetime
    times_seen: int
    resolved_at: datetime | None


A = TypeVar("A", bound=Alert)


def seen_again(alert: Alert, at: datetime, detail: str) -> bool:
    """Note that the trouble goes on; False where it was noted already, by a run that is repeated."""
    if alert.last_seen_at >= at:
        return False
    alert.last_seen_at = at
    alert.times_seen += 1
    alert.detail = detail
    return True


def gone_quiet(alerts: Iterable[A], at: datetime, quiet: timedelta) -> list[A]:
    """Return the alerts whose trouble was not seen for so long; ``resolve`` ends them."""
    return [alert for alert in alerts if alert.last_seen_at <= at - quiet]


def resolve(alert: Alert, at: datetime) -> None:
    """End an alert."""
    alert.state, alert.resolved_at = RESOLVED, at


def notes_refusal(subject_type: str, named_by: str, *, action: str = "alert.refused") -> RefusalHandler:
    """Return what notes in the audit log that people were not told; the trouble, and what was done, stay as they are.

    Args:
        subject_type: What the alert is about.
        named_by: The field of the command's payload that names it.
        action: The audit row's action.
    """

    def note(session: Session, command: OutboxCommand, reason: str) -> None:
        alert = {"alert_id": command.payload["alert_id"]} if "alert_id" in command.payload else {}
        write_audit(
            session,
            company_id=command.company_id,
            actor=OUTBOX,
            action=action,
            subject_type=subject_type,
            subject_id=command.payload[named_by],
            before=None,
            after={**alert, "command": command.command, "reason": reason},
        )

    return note
