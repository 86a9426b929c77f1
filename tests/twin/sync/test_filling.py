from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from crewflow_assets import clock
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, Event
from crewflow_assets.twin.sync.filling import beginning, write_syncs
from crewflow_assets.twin.sync.fleet import Customer

END = datetime(2026, 5, 6, 15, 20, tzinfo=UTC)


def test_the_history_ends_at_the_end_and_begins_when_each_company_came(sqlite_store: Engine) -> None:
    begin = beginning(END, 2)
    assert begin == datetime(2026, 5, 4, tzinfo=UTC)
    customers = [Customer("i-1", "c-1", "quickbooks", 20), Customer("i-2", "c-2", "xero", 20, since=2)]
    steps: list[None] = []
    with clock.fixed(END):
        with transaction() as session:
            for customer in customers:
                session.add(
                    Company(id=customer.company_id, name=customer.company_id, industry="electrical", created_at=begin)
                )
        written, _ = write_syncs(
            customers, seed=5, begin=begin, end=END, handlers={}, progress=lambda: steps.append(None)
        )
    assert len(steps) == 3
    with reading() as session:
        kinds = dict(session.execute(select(Event.kind, func.count()).group_by(Event.kind)).all())
        first = session.scalar(
            select(func.min(Event.occurred_at)).where(Event.company_id == "c-2", Event.kind == "sync_attempt")
        )
        last = session.scalar(select(func.max(Event.occurred_at)))
    assert kinds["sync_attempt"] == written > 0
    assert kinds["api_status"] >= 2
    assert first is not None
    assert last is not None
    assert first >= begin + timedelta(days=2)
    assert last <= END
