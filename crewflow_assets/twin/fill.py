"""Filling an empty installation with the simulated world, through the same doors as real data (``ingest/``)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import EventHandler, record_events
from crewflow_assets.ingest.files import import_rows
from crewflow_assets.ingest.rows import AccountRow, CostCodeRow, ProjectRow
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company as StoredCompany
from crewflow_assets.twin.records import Company
from crewflow_assets.twin.world import build_world

COMPANIES = {"demo": 48, "full": 400}


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written."""

    companies: int
    accounts: int
    items: int
    decisions: int


def is_empty() -> bool:
    """Say whether the database holds no company yet."""
    with reading() as session:
        return session.scalar(select(StoredCompany.id).limit(1)) is None


def fill(
    *,
    scale: str,
    seed: int,
    handlers: Mapping[str, EventHandler],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Filled:
    """Write the world whose history ends now, one company a transaction.

    Args:
        scale: ``demo`` or ``full``: how many companies.
        seed: The world's seed.
        handlers: What acts on the events, by kind.
        progress: Told how many companies of how many are written.
    """
    total = COMPANIES[scale]
    counts = [0, 0, 0]
    for done, company in enumerate(build_world(seed=seed, companies=total, end=clock.now()), start=1):
        with transaction() as session:
            write_company(session, company, handlers)
        for place, part in enumerate((company.chart, (*company.cost_codes, *company.projects), company.decisions)):
            counts[place] += len(part)
        progress(done, total)
    return Filled(total, *counts)


def write_company(session: Session, company: Company, handlers: Mapping[str, EventHandler]) -> None:
    """Import a company's lists as of its onboarding, then post its decisions as events."""
    with clock.fixed(company.onboarded_at):
        import_rows(
            session,
            "accounts",
            company.id,
            company.system,
            [AccountRow(code=a.key, name=a.name, type=a.type, parent=a.parent) for a in company.chart],
            company_name=company.name,
            industry=company.industry,
        )
        import_rows(
            session,
            "cost_codes",
            company.id,
            None,
            [
                CostCodeRow(code=c.code, name=c.name, description=c.description, group=c.group)
                for c in company.cost_codes
            ],
        )
        import_rows(
            session,
            "projects",
            company.id,
            None,
            [
                ProjectRow(code=p.code, name=p.name, group=p.customer, project_type=p.project_type)
                for p in company.projects
            ],
        )
    events = [
        EventIn(
            event_id=f"{company.id}-mapping-{number}",
            kind="mapping_decision",
            company_id=company.id,
            occurred_at=decision.at,
            payload={
                "kind": decision.kind,
                "system": company.system,
                "source_code": decision.source_code,
                "action": decision.action,
                "target_code": decision.target_key,
                "suggested_code": decision.suggested_key,
                "decided_by": decision.decided_by,
            },
        )
        for number, decision in enumerate(company.decisions)
    ]
    record_events(session, events, handlers=handlers)
