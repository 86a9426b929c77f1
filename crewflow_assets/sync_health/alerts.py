"""Alerts: one open for each cause of an integration, told once, resolved after a quiet day.

While its trouble goes on, an alert is kept up to date and nobody is told again. People of one company are told a
limited number of alerts within 24 hours; those beyond it are open on the dashboard, and told once there is room if
their trouble still goes on. Within a tick the most probable failures come first.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.alerting import OPEN, gone_quiet, resolve, seen_again
from crewflow_assets.outbox.queue import NewCommand, command_key
from crewflow_assets.settings import get_settings
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.database import batched
from crewflow_assets.store.sync_tables import Alert
from crewflow_assets.sync_health.contract import AT_RISK
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.ledger import ACTOR, ActionLedger
from crewflow_assets.sync_health.policy import Trouble

QUIET = timedelta(days=1)
LIMIT_WINDOW = timedelta(days=1)


class AlertBook:
    """The open alerts of companies within the transaction of an action ledger, which sends its commands."""

    def __init__(self, ledger: ActionLedger, companies: Collection[str]) -> None:
        self.ledger = ledger
        self.session = ledger.session
        self.at = ledger.at
        self._open: dict[tuple[Key, str], Alert] = {}
        self._told: dict[str, int] = {}
        for part in batched(sorted(companies)):
            for alert in self.session.scalars(select(Alert).where(Alert.company_id.in_(part), Alert.state == OPEN)):
                self._open[(alert.company_id, alert.integration_id), alert.cause] = alert
            self._told |= _told_since(self.session, part, self.at - LIMIT_WINDOW)

    def see(self, key: Key, trouble: Trouble, probability: float) -> bool:
        """Note that an integration is in trouble now; True where this opened an alert."""
        alert = self._open.get((key, trouble.cause))
        if alert is not None:
            if seen_again(alert, self.at, trouble.detail):
                alert.failure_probability = probability
            return False
        alert = Alert(
            id=f"a-{secrets.token_hex(12)}",
            company_id=key[0],
            integration_id=key[1],
            cause=trouble.cause,
            state=OPEN,
            detail=trouble.detail,
            failure_probability=probability,
            opened_at=self.at,
            last_seen_at=self.at,
            times_seen=1,
        )
        self.session.add(alert)
        self._open[key, trouble.cause] = alert
        self._audit(alert, "alert.open", None)
        return True

    def resolve_quiet(self) -> int:
        """Resolve alerts whose trouble was not seen for a day; returns how many."""
        quiet = gone_quiet(self._open.values(), self.at, QUIET)
        for alert in quiet:
            before = snapshot(alert)
            resolve(alert, self.at)
            del self._open[(alert.company_id, alert.integration_id), alert.cause]
            self._audit(alert, "alert.resolve", before)
            if alert.told_at is not None:
                self._tell("alert.resolved", alert)
        return len(quiet)

    def tell(self) -> int:
        """Tell people of open alerts that they have not heard of, within the limit; returns how many."""
        limit = get_settings().alerts_per_day
        untold = [a for a in self._open.values() if a.told_at is None and a.last_seen_at == self.at]
        number = 0
        for alert in sorted(untold, key=lambda a: (a.opened_at, -a.failure_probability, a.integration_id)):
            told = self._told.get(alert.company_id, 0)
            if told < limit:
                alert.told_at = self.at
                self._told[alert.company_id] = told + 1
                self._tell("alert.opened", alert)
                number += 1
        return number

    def _tell(self, command: str, alert: Alert) -> None:
        self.ledger.collect(
            NewCommand(
                company_id=alert.company_id,
                record_key=f"alert/{alert.id}",
                command=command,
                payload=self._payload(alert),
                idempotency_key=command_key(alert.id, command),
            )
        )

    def _payload(self, alert: Alert) -> dict[str, Any]:
        key = (alert.company_id, alert.integration_id)
        system = self.ledger.integrations[key].system
        return {
            "alert_id": alert.id,
            "integration_id": alert.integration_id,
            "system": system,
            "cause": alert.cause,
            "severity": "warning",
            "message": message(system, alert.detail, alert.failure_probability),
            "detail": alert.detail,
            "failure_probability": alert.failure_probability,
            "actions": [
                {"action_id": a.id, "action": a.action, "automatic": a.automatic, "until": a.until.isoformat()}
                for a in self.ledger.in_force(key)
            ],
            "opened_at": alert.opened_at.isoformat(),
            "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        }

    def _audit(self, alert: Alert, action: str, before: dict[str, Any] | None) -> None:
        write_audit(
            self.session,
            company_id=alert.company_id,
            actor=ACTOR,
            action=action,
            subject_type="integration",
            subject_id=alert.integration_id,
            before=before,
            after=snapshot(alert),
        )


def message(system: str, detail: str, probability: float) -> str:
    """Return the sentence that people read; below the threshold of risk, what is foreseen or known did."""
    if probability <= AT_RISK:
        return f"{system}: {detail}"
    return f"The next {system} sync will probably fail ({probability:.0%}): {detail}"


def snapshot(alert: Alert) -> dict[str, Any]:
    """Return what the audit log keeps of an alert."""
    return {
        "alert_id": alert.id,
        "cause": alert.cause,
        "state": alert.state,
        "detail": alert.detail,
        "failure_probability": alert.failure_probability,
        "times_seen": alert.times_seen,
    }


def open_alerts(session: Session, company_id: str, integration_id: str) -> list[Alert]:
    """Return an integration's open alerts, the oldest first."""
    of_it = (Alert.company_id == company_id, Alert.integration_id == integration_id, Alert.state == OPEN)
    return list(session.scalars(select(Alert).where(*of_it).order_by(Alert.opened_at, Alert.id)))


def _told_since(session: Session, companies: Collection[str], since: datetime) -> dict[str, int]:
    counted = (
        select(Alert.company_id, func.count())
        .where(Alert.company_id.in_(companies), Alert.told_at > since)
        .group_by(Alert.company_id)
    )
    return dict(session.execute(counted).all())
