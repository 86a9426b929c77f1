"""The rule to beat: whoever failed last time will fail again, for what the error said."""

from collections.abc import Mapping

import numpy as np

from crewflow_assets.sync_health.contract import Cause, RiskFactor
from crewflow_assets.sync_health.policy import Risk
from crewflow_assets.twin.sync.attempts import ERRORS
from crewflow_assets.twin.sync.policy import View
from crewflow_assets.twin.sync.world import SyncWorld

CAUSE_OF: Mapping[str, Cause] = {
    "connection_error": "api_down",
    "timeout": "api_down",
    "server_error": "api_down",
    "auth": "auth",
    "rate_limit": "rate_limit",
    "validation": "data_quality",
}
SURE = 0.75


class LastError:
    """A scorer without a model: at risk is what failed at its last attempt."""

    def __init__(self, world: SyncWorld) -> None:
        self._last = np.zeros(len(world.fleet), dtype=np.int8)

    def see(self, view: View) -> None:
        """Keep the newest error of each integration."""
        if view.attempts is not None:
            self._last[view.attempts.who] = view.attempts.error

    def risks(self, view: View) -> Mapping[int, Risk]:  # noqa: ARG002 - a model would look at the moment
        """Return those that failed at their last attempt."""
        return {
            int(place): Risk(SURE, [RiskFactor(code=CAUSE_OF[name], detail=name, contribution=SURE)])
            for place in np.flatnonzero(self._last)
            for name in [ERRORS[self._last[place]].name]
        }
