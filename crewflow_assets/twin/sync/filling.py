"""Writing the sync history of simulated companies through the same doors as real data (``ingest/``)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain

from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import EventHandler, record_events
from crewflow_assets.store.database import transaction
from crewflow_assets.twin.retries.record import Recorded, Recorder
from crewflow_assets.twin.sync.attempts import Attempts, joined
from crewflow_assets.twin.sync.fleet import Customer
from crewflow_assets.twin.sync.history import attempt_table, events_of, status_table
from crewflow_assets.twin.sync.parameters import TICKS_PER_DAY
from crewflow_assets.twin.sync.world import Draw, SyncWorld


def write_syncs(
    customers: Sequence[Customer],
    *,
    seed: int,
    begin: datetime,
    end: datetime,
    handlers: Mapping[str, EventHandler],
    progress: Callable[[], None] = lambda: None,
) -> tuple[int, Recorded]:
    """Record all sync attempts and statuses from ``begin``, a midnight UTC, to ``end``; one day a transaction.

    Args:
        customers: Their companies are known to the database.
        seed: The world's seed.
        begin: When the world begins.
        end: What happens after it is left out.
        handlers: What acts on the events, by kind.
        progress: Told after each day.

    Returns:
        How many sync attempts were recorded, and the world with the state that retries need.
    """
    days = (end - begin).days + 1
    world = SyncWorld([Draw(seed, tuple(customers))], start=begin, days=days)
    statuses = list(events_of("api_status", status_table(world), until=end))
    recorder, parts = Recorder(world), list[Attempts]()
    count = 0
    for day in range(days):
        parts.append(joined(list(_ticks(world, recorder))))
        attempts = events_of("sync_attempt", attempt_table(world, parts[-1]), until=end)
        tomorrow = begin + timedelta(days=day + 1)
        said = (status for status in statuses if tomorrow - timedelta(days=1) <= status.occurred_at < tomorrow)
        events = sorted(chain(attempts, said), key=_moment)
        count += sum(event.kind == "sync_attempt" for event in events)
        with transaction() as session:
            record_events(session, events, handlers=handlers)
        progress()
    return count, recorder.recorded(joined(parts))


def beginning(end: datetime, days: int) -> datetime:
    """Return the midnight UTC that lies so many whole days before the day of ``end``."""
    return datetime.combine(end.astimezone(UTC).date(), datetime.min.time(), UTC) - timedelta(days=days)


def _ticks(world: SyncWorld, recorder: Recorder) -> Iterator[Attempts]:
    for _ in range(TICKS_PER_DAY):
        world.begin_tick()
        recorder.note()
        yield world.finish_tick()


def _moment(event: EventIn) -> datetime:
    return event.occurred_at
