"""Integrations for the tests of the watch: sync attempts as events, and scorers that say what they are told."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import select

from crewflow_assets import clock
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import EventCounts, record_events
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.sync_tables import Alert, Integration, SyncAction
from crewflow_assets.store.tables import AuditEntry, Base, Company, OutboxCommand
from crewflow_assets.sync_health.contract import Cause, RateLimitForecast, RiskFactor
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.policy import Risk
from crewflow_assets.sync_health.watch import Scored, Scorer, TickReport, tick

Row = TypeVar("Row", bound=Base)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TICK = 15 * MINUTE
DAY = timedelta(days=1)
COMPANY = "c-1"
I_3: Key = (COMPANY, "i-3")
DETAIL = "87 of 100 calls used in the last hour"


def add_companies(*ids: str) -> None:
    with transaction() as session:
        session.add_all(Company(id=id_, name=id_, industry="roofing", created_at=NOON - 99 * DAY) for id_ in ids)


def attempt(at: datetime, *, ok: bool = True, key: Key = I_3, system: str = "quickbooks", **payload: Any) -> EventIn:
    return EventIn(
        event_id=f"{key[1]}-{at.isoformat()}",
        kind="sync_attempt",
        company_id=key[0],
        occurred_at=at,
        payload={"integration_id": key[1], "system": system, "ok": ok} | payload,
    )


def post(*events: EventIn) -> EventCounts:
    """Post events as of the newest of them."""
    with clock.fixed(max(event.occurred_at for event in events)), transaction() as session:
        return record_events(session, events, handlers=EVENT_HANDLERS)


def risk(probability: float, *causes: Cause, forecast: RateLimitForecast | None = None) -> Risk:
    """Return a risk whose factors halve from cause to cause."""
    factors = [RiskFactor(code=c, detail=DETAIL, contribution=probability / 2**n) for n, c in enumerate(causes)]
    return Risk(probability, factors, forecast)


def forecast(probability: float, minutes: float = 118.0) -> RateLimitForecast:
    return RateLimitForecast(minutes=minutes, low_minutes=60, high_minutes=None, probability=probability)


HEALTHY = risk(0.1)


def scorer(risks: Mapping[Key, Risk], otherwise: Risk = HEALTHY) -> Scorer:
    def score(keys: Sequence[Key], at: datetime) -> list[Scored]:
        return [Scored(risks.get(key, otherwise), 60.0) for key in keys]

    return score


def watch(at: datetime, risks: Mapping[Key, Risk]) -> TickReport:
    with clock.fixed(at):
        return tick(scorer(risks), at, model_version="1.0")


def everything(table: type[Row]) -> list[Row]:
    with reading() as session:
        return list(session.scalars(select(table).order_by(*table.__table__.primary_key)))


def integration(key: Key = I_3) -> Integration:
    [found] = [row for row in everything(Integration) if (row.company_id, row.integration_id) == key]
    return found


def actions() -> list[SyncAction]:
    return sorted(everything(SyncAction), key=lambda action: action.decided_at)


def alerts() -> list[Alert]:
    return sorted(everything(Alert), key=lambda alert: alert.opened_at)


def commands() -> list[str]:
    return [row.command for row in everything(OutboxCommand)]


def audited() -> list[str]:
    return [row.action for row in everything(AuditEntry)]
