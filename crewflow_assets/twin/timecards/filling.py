"""Writing the timecards of simulated companies through the same doors as real data (``ingest/``)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import EventHandler, record_events
from crewflow_assets.store.database import batched, transaction
from crewflow_assets.twin.timecards.crews import Employer
from crewflow_assets.twin.timecards.parameters import DEFAULTS, TimecardParameters
from crewflow_assets.twin.timecards.world import TimecardHistory, build_timecards

EVENTS_PER_TRANSACTION = 10_000


def write_timecards(
    employers: Sequence[Employer],
    *,
    seed: int,
    end: datetime,
    handlers: Mapping[str, EventHandler],
    parameters: TimecardParameters = DEFAULTS,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Record the timecards, conflicts and decisions of companies that the database knows; one company after another.

    Args:
        employers: Whose timecards.
        seed: The world's seed.
        end: What happens after it is left out.
        handlers: What acts on the events, by kind.
        parameters: Of the world.
        progress: Told after each company.

    Returns:
        How many conflicts were recorded.
    """
    count = 0
    for history in build_timecards(employers, seed=seed, end=end, parameters=parameters):
        for part in batched(events_of(history), EVENTS_PER_TRANSACTION):
            with transaction() as session:
                record_events(session, part, handlers=handlers)
        count += len(history.hidden)
        progress()
    return count


def events_of(history: TimecardHistory) -> list[EventIn]:
    """Return a company's history as the events that would be posted."""
    return [
        EventIn(
            event_id=f"{history.employer.company_id}-timecards-{number}",
            kind=happening.kind,
            company_id=history.employer.company_id,
            occurred_at=happening.at,
            payload=dict(happening.payload),
        )
        for number, happening in enumerate(history.happenings)
    ]
