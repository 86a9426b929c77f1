"""Filling an empty installation with the simulated world, through the same doors as real data (``ingest/``)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

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
from crewflow_assets.twin.retries.filling import write_retries
from crewflow_assets.twin.sync.filling import beginning, write_syncs
from crewflow_assets.twin.sync.fleet import Customer
from crewflow_assets.twin.timecards.crews import Employer
from crewflow_assets.twin.timecards.filling import write_timecards
from crewflow_assets.twin.world import build_world

COMPANIES = {"demo": 48, "full": 400}
SYNC_DAYS = {"demo": 60, "full": 365}
"""How far back the sync history goes; the decisions on mappings go back further."""
CARD_DAYS = {"demo": 90, "full": 180}
MOST_WORKERS = {"demo": 16, "full": 25}
"""How far back timecards go, and of how many workers of a company at most."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written."""

    companies: int
    accounts: int
    items: int
    decisions: int
    syncs: int
    retries: int
    conflicts: int


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
    """Write the world whose history ends now: companies, one a transaction, then their syncs, retries and timecards.

    Args:
        scale: ``demo`` or ``full``: how many companies, and how many days of syncs and timecards.
        seed: The world's seed.
        handlers: What acts on the events, by kind.
        progress: Told how many steps of how many are done; a step is a company, a day of syncs, or the
            timecards of a company; all retries are one.
    """
    end, total = clock.now(), COMPANIES[scale]
    begin = beginning(end, SYNC_DAYS[scale])
    steps = 2 * total + SYNC_DAYS[scale] + 2
    counts = [0, 0, 0]
    customers: list[Customer] = []
    employers: list[Employer] = []
    for done, company in enumerate(build_world(seed=seed, companies=total, end=end), start=1):
        with transaction() as session:
            write_company(session, company, handlers)
        for place, part in enumerate((company.chart, (*company.cost_codes, *company.projects), company.decisions)):
            counts[place] += len(part)
        customers.append(customer_of(company, begin))
        employers.append(employer_of(company, end, scale))
        progress(done, steps)
    later = count(total + 1)

    def step() -> None:
        progress(next(later), steps)

    syncs, recorded = write_syncs(customers, seed=seed, begin=begin, end=end, handlers=handlers, progress=step)
    retries = write_retries(recorded, end=end, handlers=handlers)
    step()
    conflicts = write_timecards(employers, seed=seed, end=end, handlers=handlers, progress=step)
    accounts, items, decisions = counts
    return Filled(total, accounts, items, decisions, syncs, retries, conflicts)


def employer_of(company: Company, end: datetime, scale: str) -> Employer:
    """Return who fills in timecards in a company: some of its people, from the day after its onboarding."""
    since = max(company.onboarded_at.date() + timedelta(days=1), end.date() - timedelta(days=CARD_DAYS[scale]))
    return Employer(company.id, company.system, min(MOST_WORKERS[scale], company.size // 2), since)


def customer_of(company: Company, begin: datetime) -> Customer:
    """Return a company's one integration, which syncs from the day after its onboarding."""
    since = max(0, (company.onboarded_at - begin).days + 1)
    return Customer(f"i-{company.id.removeprefix('c-')}", company.id, company.system, company.size, since)


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
