"""An integration as its dashboard shows it (PRD 2.2): status, risk, what is done and what is to do, alerts, score."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.alerting import OPEN
from crewflow_assets.errors import NotFoundError
from crewflow_assets.store.sync_tables import Alert, HealthScore, Integration, SyncAction, SyncRisk
from crewflow_assets.store.tables import Company
from crewflow_assets.sync_health.alerts import message, open_alerts
from crewflow_assets.sync_health.contract import AT_RISK, RateLimitForecast, RecommendedAction, RiskFactor
from crewflow_assets.sync_health.integrations import ACTIVE, SLOWED, integration_of
from crewflow_assets.sync_health.ledger import ActionLedger, name_of
from crewflow_assets.sync_health.policy import SCHEDULE, Risk, recommended

COMPONENTS = ("sync_success_rate", "latency", "error_rate", "data_quality")


def health_of(session: Session, *, company_id: str, integration_id: str) -> dict[str, Any]:
    """Return an integration's health as the HTTP route answers it.

    Raises:
        NotFoundError: the company has no such integration.
    """
    at = clock.now()
    integration = integration_of(session, company_id, integration_id)
    risk = session.get(SyncRisk, integration.id)
    score = latest_score(session, company_id, integration_id)
    return {
        "integration_id": integration_id,
        "company_id": company_id,
        "system": integration.system,
        "as_of": at.isoformat(),
        **_risk(risk),
        "schedule": _schedule(session, integration, at),
        "needs_authorisation": integration.needs_authorisation,
        "last_attempt_at": _iso(integration.last_attempt_at),
        "last_ok_at": _iso(integration.last_ok_at),
        "actions": _actions(session, integration, risk, at),
        "alerts": [
            {
                "alert_id": alert.id,
                "code": alert.cause,
                "detail": alert.detail,
                "message": message(integration.system, alert.detail, alert.failure_probability),
                "failure_probability": alert.failure_probability,
                "opened_at": alert.opened_at.isoformat(),
                "last_seen_at": alert.last_seen_at.isoformat(),
                "told": alert.told_at is not None,
            }
            for alert in open_alerts(session, company_id, integration_id)
        ],
        "overall_score": None if score is None else score.overall,
        "components": {name: None if score is None else getattr(score, name) for name in COMPONENTS},
        "scored_on": None if score is None else score.day.isoformat(),
    }


def overview(session: Session, *, company_id: str, limit: int, after: str | None = None) -> dict[str, Any]:
    """Return a page of a company's integrations in the order of their ids, as the HTTP route answers it.

    Args:
        session: An open session.
        company_id: Whose integrations.
        limit: How many at most.
        after: The id after which the page begins; the ``next`` of the page before.

    Raises:
        NotFoundError: the company is unknown.
    """
    if session.get(Company, company_id) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; import its chart or cost codes first")
    at = clock.now()
    of_open = (Alert.company_id == Integration.company_id, Alert.integration_id == Integration.integration_id)
    alerts = select(func.count()).where(*of_open, Alert.state == OPEN).correlate(Integration).scalar_subquery()
    query = (
        select(Integration, SyncRisk, alerts)
        .outerjoin(SyncRisk, SyncRisk.integration == Integration.id)
        .where(Integration.company_id == company_id)
        .order_by(Integration.integration_id)
    )
    if after is not None:
        query = query.where(Integration.integration_id > after)
    rows = session.execute(query.limit(limit + 1)).all()
    items = [
        {
            "integration_id": integration.integration_id,
            "system": integration.system,
            "status": _risk(risk)["status"],
            "failure_probability": None if risk is None else risk.failure_probability,
            "state": _state(integration, at),
            "needs_authorisation": integration.needs_authorisation,
            "last_ok_at": _iso(integration.last_ok_at),
            "open_alerts": number,
        }
        for integration, risk, number in rows[:limit]
    ]
    return {
        "company_id": company_id,
        "items": items,
        "next": items[-1]["integration_id"] if len(rows) > limit else None,
    }


def latest_score(session: Session, company_id: str, integration_id: str) -> HealthScore | None:
    """Return the newest daily score of an integration, or None before the first."""
    of_it = (HealthScore.company_id == company_id, HealthScore.integration_id == integration_id)
    return session.scalar(select(HealthScore).where(*of_it).order_by(HealthScore.day.desc()).limit(1))


def _risk(risk: SyncRisk | None) -> dict[str, Any]:
    if risk is None:
        return {
            "status": None,
            "failure_probability": None,
            "assessed_at": None,
            "horizon_minutes": None,
            "model_version": None,
            "risk_factors": [],
            "rate_limit_forecast": None,
        }
    return {
        "status": "at_risk" if risk.failure_probability > AT_RISK else "healthy",
        "failure_probability": risk.failure_probability,
        "assessed_at": risk.assessed_at.isoformat(),
        "horizon_minutes": risk.horizon_minutes,
        "model_version": risk.model_version,
        "risk_factors": risk.risk_factors,
        "rate_limit_forecast": risk.forecast,
    }


def _schedule(session: Session, integration: Integration, at: datetime) -> dict[str, Any]:
    state = _state(integration, at)
    interval = integration.interval_minutes
    if state == SLOWED:
        interval = session.get_one(SyncAction, integration.action_id).interval_minutes
    return {
        "state": state,
        "until": None if state == ACTIVE else _iso(integration.state_until),
        "interval_minutes": interval,
        "usual_interval_minutes": integration.interval_minutes,
        "freshness_minutes": integration.freshness_minutes,
    }


def _state(integration: Integration, at: datetime) -> str:
    """Return the state that stands now: a change ends at its time, whether or not a tick has noted it."""
    stands = integration.state_until is not None and integration.state_until > at
    return integration.state if stands else ACTIVE


def _actions(session: Session, integration: Integration, risk: SyncRisk | None, at: datetime) -> list[dict[str, Any]]:
    """Return the actions that stand, then those that a person might take; ``done`` where nothing is left to do."""
    key = (integration.company_id, integration.integration_id)
    ledger = ActionLedger(session, [key[0]], at, only_read=True)
    standing = [action for action in ledger.in_force(key) if action.until > at]
    shown: list[dict[str, Any]] = [
        {
            "action_id": action.id,
            "action": action.action,
            "automatic": action.automatic,
            "done": action.action in SCHEDULE,
            "detail": action.detail,
            "interval_minutes": action.interval_minutes,
            "until": action.until.isoformat(),
        }
        for action in standing
    ]
    if risk is None:
        return shown
    names = {name_of(action) for action in standing}
    foreseen = None if risk.forecast is None else RateLimitForecast.model_validate(risk.forecast)
    factors = [RiskFactor.model_validate(factor) for factor in risk.risk_factors]
    found = recommended(Risk(risk.failure_probability, factors, foreseen), ledger.situation(key), at)
    return shown + [_to_do(action) for action in found if action.action not in names]


def _to_do(action: RecommendedAction) -> dict[str, Any]:
    return {
        "action_id": None,
        "action": action.action,
        "automatic": False,
        "done": False,
        "detail": None,
        "interval_minutes": action.interval_minutes,
        "until": None,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
