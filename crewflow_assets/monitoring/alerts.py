"""Alerts about models: one open for each model and cause, kept up to date, resolved after quiet weeks.

Each step leaves through the outbox as a command of the platform, in the transaction of its audit row.
"""

from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from crewflow_assets.alerting import OPEN, gone_quiet, notes_refusal, resolve, seen_again
from crewflow_assets.outbox.queue import RefusalHandler, command_key, enqueue
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.monitoring_tables import ModelAlert

ACTOR = "monitoring"
QUIET_WEEKS = 4
"""An alert whose trouble was not seen for so many weeks is resolved; seen again, it is a new one."""

Step = Literal["opened", "updated", "resolved"]


def note(session: Session, model: str, cause: str, detail: str, at: datetime) -> None:
    """Note that a model is in trouble for a cause: open an alert, or keep the open one up to date."""
    alert = session.scalar(_open(model).where(ModelAlert.cause == cause).with_for_update())
    if alert is not None:
        before = snapshot(alert)
        if seen_again(alert, at, detail):
            _tell(session, alert, "updated", before)
        return
    alert = ModelAlert(
        model=model,
        cause=cause,
        state=OPEN,
        detail=detail,
        opened_at=at,
        last_seen_at=at,
        times_seen=1,
        resolved_at=None,
    )
    session.add(alert)
    session.flush()
    _tell(session, alert, "opened", None)


def resolve_quiet(session: Session, model: str, at: datetime) -> list[ModelAlert]:
    """Resolve a model's alerts whose trouble was not seen for four weeks, and return them."""
    quiet = gone_quiet(session.scalars(_open(model).with_for_update()), at, timedelta(weeks=QUIET_WEEKS))
    for alert in quiet:
        before = snapshot(alert)
        resolve(alert, at)
        _tell(session, alert, "resolved", before)
    return quiet


def open_alerts(session: Session, model: str) -> list[ModelAlert]:
    """Return a model's open alerts, the oldest first."""
    return list(session.scalars(_open(model)))


def snapshot(alert: ModelAlert) -> dict[str, Any]:
    """Return what the audit log keeps of an alert."""
    return {
        "alert_id": alert.id,
        "cause": alert.cause,
        "state": alert.state,
        "detail": alert.detail,
        "times_seen": alert.times_seen,
    }


def _open(model: str) -> Select[ModelAlert]:
    of_it = (ModelAlert.model == model, ModelAlert.state == OPEN)
    return select(ModelAlert).where(*of_it).order_by(ModelAlert.opened_at, ModelAlert.id)


def _tell(session: Session, alert: ModelAlert, step: Step, before: dict[str, Any] | None) -> None:
    """Write the audit row and the command of a step; the alert's row is locked, so that its commands are in order."""
    command = f"model_alert.{step}"
    write_audit(
        session,
        company_id=None,
        actor=ACTOR,
        action=command,
        subject_type="model",
        subject_id=alert.model,
        before=before,
        after=snapshot(alert),
    )
    enqueue(
        session,
        company_id=None,
        record_key=f"model_alert/{alert.id}",
        command=command,
        payload={
            "alert_id": alert.id,
            "model": alert.model,
            "cause": alert.cause,
            "severity": "warning",
            "message": f"{alert.model}, {alert.cause}: {alert.detail}",
            "detail": alert.detail,
            "times_seen": alert.times_seen,
            "opened_at": alert.opened_at.isoformat(),
            "last_seen_at": alert.last_seen_at.isoformat(),
            "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        },
        idempotency_key=command_key(command, str(alert.id), str(alert.times_seen)),
    )


_note_refused = notes_refusal("model", "model", action="model_alert.refused")

REFUSAL_HANDLERS: dict[str, RefusalHandler] = {
    "model_alert.opened": _note_refused,
    "model_alert.updated": _note_refused,
    "model_alert.resolved": _note_refused,
}
