"""Writing the retries of simulated companies through the same doors as real data (``ingest/``)."""

from collections.abc import Mapping
from datetime import datetime

from crewflow_assets.ingest.events import EventHandler, record_events
from crewflow_assets.store.database import transaction
from crewflow_assets.twin.retries.history import retry_table
from crewflow_assets.twin.retries.parameters import DEFAULTS
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Explorer
from crewflow_assets.twin.retries.record import Recorded
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.history import events_of

EVENTS_PER_TRANSACTION = 2000


def write_retries(recorded: Recorded, *, end: datetime, handlers: Mapping[str, EventHandler]) -> int:
    """Record how the failed syncs of a world were retried until ``end``, and return how many retries there were.

    The past installation retried by ``Explorer``: with a fixed backoff most of the time, and any delay now and then.

    Args:
        recorded: The world, whose companies are known to the database.
        end: What happens after it is left out.
        handlers: What acts on the events, by kind.
    """
    world = RetryWorld(recorded, [DEFAULTS] * len(recorded.world.draws))
    played = play(world, Explorer(world), horizon_hours=EXPLORED_HOURS)
    events = list(events_of("retry_outcome", retry_table(world, played.log), until=end))
    events.sort(key=lambda event: event.occurred_at)
    for start in range(0, len(events), EVENTS_PER_TRANSACTION):
        with transaction() as session:
            record_events(session, events[start : start + EVENTS_PER_TRANSACTION], handlers=handlers)
    return len(events)
