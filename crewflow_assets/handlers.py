"""What acts on events that come in, and on commands that receivers refuse: of all models, for every door."""

from crewflow_assets.conflict_resolution import posted as posted_conflicts
from crewflow_assets.cost_code_mapping import actions as mapping_actions
from crewflow_assets.ingest.events import EventHandler
from crewflow_assets.monitoring import outcomes as prediction_outcomes
from crewflow_assets.outbox.queue import RefusalHandler
from crewflow_assets.sync_health import actions as sync_actions
from crewflow_assets.sync_health import integrations

EVENT_HANDLERS: dict[str, EventHandler] = {
    **mapping_actions.EVENT_HANDLERS,
    **integrations.EVENT_HANDLERS,
    **posted_conflicts.EVENT_HANDLERS,
    **prediction_outcomes.EVENT_HANDLERS,
}
"""By event kind."""

REFUSAL_HANDLERS: dict[str, RefusalHandler] = {
    **mapping_actions.REFUSAL_HANDLERS,
    **sync_actions.REFUSAL_HANDLERS,
    **posted_conflicts.REFUSAL_HANDLERS,
}
"""By command."""
