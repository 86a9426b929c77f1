"""What acts on events that come in, and on commands that receivers refuse: of all models, for every door."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution import posted as posted_conflicts
from crewflow_assets.cost_code_mapping import posted as posted_mappings
from crewflow_assets.ingest.events import EventHandler, RecordedEvent
from crewflow_assets.monitoring import alerts as model_alerts
from crewflow_assets.monitoring import outcomes as prediction_outcomes
from crewflow_assets.outbox.queue import RefusalHandler
from crewflow_assets.retry_strategy import holds as retry_holds
from crewflow_assets.sync_health import actions as sync_actions
from crewflow_assets.sync_health import integrations


def _in_turn(*maps: Mapping[str, EventHandler]) -> dict[str, EventHandler]:
    """Return the handlers of all maps by kind; those of one kind act one after the other."""
    found: dict[str, list[EventHandler]] = {}
    for one in maps:
        for kind, handler in one.items():
            found.setdefault(kind, []).append(handler)
    return {kind: _all(handlers) for kind, handlers in found.items()}


def _all(handlers: Sequence[EventHandler]) -> EventHandler:
    def act(session: Session, events: Sequence[RecordedEvent]) -> None:
        for handler in handlers:
            handler(session, events)

    return act


EVENT_HANDLERS: dict[str, EventHandler] = _in_turn(
    posted_mappings.EVENT_HANDLERS,
    integrations.EVENT_HANDLERS,
    posted_conflicts.EVENT_HANDLERS,
    prediction_outcomes.EVENT_HANDLERS,
    retry_holds.EVENT_HANDLERS,
)
"""By event kind."""

REFUSAL_HANDLERS: dict[str, RefusalHandler] = {
    **posted_mappings.REFUSAL_HANDLERS,
    **sync_actions.REFUSAL_HANDLERS,
    **posted_conflicts.REFUSAL_HANDLERS,
    **model_alerts.REFUSAL_HANDLERS,
    **retry_holds.REFUSAL_HANDLERS,
}
"""By command."""
