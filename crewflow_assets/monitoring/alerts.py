"""Alerts about models: one open for each model and cause, kept up to date, resolved after quiet weeks."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.alerting import OPEN, gone_quiet, resolve, seen_again
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.monitoring_tables import ModelAlert

ACTOR = "monitoring"
QUIET_WEEKS = 4
"""An alert whose trouble was not seen for so many weeks is resolved; seen again, it is a new one."""


def note(session: Session, model: str, cause: str, detail: str, at: datetime) -> None:
    """Note that a model is in trouble for a cause: open an alert, or keep the open one up to date."""
    alert = session.scalar(
        select(ModelAlert)
        .where(ModelAlert.model == model, ModelAlert.cause == cause, ModelAlert.state == OPEN)
        .with_for_update()
    )
    if alert is not None:
        seen_again(alert, at, detail)
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
    _audit(session, alert, "model_alert.open")


def resolve_quiet(session: Session, model: str, at: datetime) -> list[ModelAlert]:
    """Resolve a model's alerts whose trouble was not seen for four weeks, and return them."""
    quiet = gone_quiet(open_alerts(session, model), at, timedelta(weeks=QUIET_WEEKS))
    for alert in quiet:
        resolve(alert, at)
        _audit(session, alert, "model_alert.resolve")
    return quiet


def open_alerts(session: Session, model: str) -> list[ModelAlert]:
    """Return a model's open alerts, the oldest first."""
    of_it = (ModelAlert.model == model, ModelAlert.state == OPEN)
    return list(session.scalars(select(ModelAlert).where(*of_it).order_by(ModelAlert.opened_at, ModelAlert.id)))


def _audit(session: Session, alert: ModelAlert, action: str) -> None:
    write_audit(
        session,
        company_id=None,
        actor=ACTOR,
        action=action,
        subject_type="model",
        subject_id=alert.model,
        before=None,
        after={"cause": alert.cause, "state": alert.state, "detail": alert.detail, "times_seen": alert.times_seen},
    )
