"""What tests of the lake write into the inbox and read from the lake, of one kind of event unless said otherwise."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.lake.events import read_events, stale_days, write_days
from crewflow_assets.store.database import reading, transaction
from tests.ingest.test_events import EXAMPLES

DAY = date(2026, 1, 5)
NOON = datetime(2026, 1, 5, 12, 0, 0, 123457, tzinfo=UTC)
FOREVER = datetime(2030, 1, 1, tzinfo=UTC)


def record(*events: tuple[str, datetime], kind: str = "api_status", received: datetime | None = None) -> None:
    posted = [
        EventIn(event_id=name, kind=kind, company_id="c-1", occurred_at=at, payload=EXAMPLES[kind])
        for name, at in events
    ]
    with clock.fixed(received or NOON + timedelta(days=30)), transaction() as session:
        record_events(session, posted, handlers={})


def write(day: date = DAY, kind: str = "api_status", now: datetime | None = None) -> int:
    with clock.fixed(now or NOON + timedelta(days=31)), reading() as session:
        return write_days(session, kind, [day])


def write_both() -> int:
    """Write the day and the next one in one go."""
    with clock.fixed(NOON + timedelta(days=31)), reading() as session:
        return write_days(session, "api_status", [DAY, DAY + timedelta(days=1)])


def stale(kind: str = "api_status", now: datetime | None = None) -> dict[date, int]:
    with clock.fixed(now or NOON + timedelta(days=31)), reading() as session:
        return stale_days(session, kind)


def rows(kind: str = "api_status", before: datetime = FOREVER) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_events(kind, before=before).order_by("occurred_at").to_pyarrow().to_pylist()
    return found


def ids() -> list[str]:
    return [row["event_id"] for row in rows()]
