"""Requests and events for the tests of the retry strategy's answers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import EventHandler, record_events
from crewflow_assets.retry_strategy.contract import RetryRequest
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Company

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
COMPANIES = ("c-1", "c-2", "c-3")


def request(**fields: Any) -> RetryRequest:
    """Return a request of c-1's i-3, which QuickBooks could not serve; ``fields`` changes what it says."""
    usual = {
        "company_id": "c-1",
        "integration_id": "i-3",
        "integration_type": "quickbooks",
        "error_type": "server_error",
        "error_message": "Service Unavailable",
        "status_code": 503,
        "previous_attempts": 1,
        "time_of_day": 12,
        "api_latency_24h": 800.0,
    }
    return RetryRequest.model_validate(usual | fields)


def add_companies() -> None:
    with transaction() as session:
        session.add_all(
            Company(id=c, name=c, industry="roofing", created_at=NOON - 99 * 24 * 60 * MINUTE) for c in COMPANIES
        )


def event(kind: str, number: int, company: str, at: datetime, **payload: Any) -> EventIn:
    usual = {"integration_id": "i-3" if company == "c-1" else f"i-{company}", "system": "quickbooks", "ok": True}
    return EventIn(
        event_id=f"{kind}-{number}",
        kind=kind,
        company_id=company,
        occurred_at=at,
        payload=usual | payload,
    )


def attempt(number: int, company: str, at: datetime, **payload: Any) -> EventIn:
    return event("sync_attempt", number, company, at, **payload)


def outcome(number: int, company: str, at: datetime, **payload: Any) -> EventIn:
    usual = {"error_class": "server_error", "attempt": 1, "delay_seconds": 60.0}
    return event("retry_outcome", number, company, at, **(usual | payload))


def post(*events: EventIn, at: datetime = NOON, handlers: Mapping[str, EventHandler] | None = None) -> None:
    with clock.fixed(at), transaction() as session:
        record_events(session, events, handlers=handlers or {})
