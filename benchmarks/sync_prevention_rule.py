"""The rule to beat: whoever failed last time will fail again, for what the error said and as long as it said."""

from collections.abc import Mapping

import numpy as np

from crewflow_assets.sync_health.contract import Cause, RateLimitForecast, RiskFactor
from crewflow_assets.sync_health.policy import Risk
from crewflow_assets.twin.sync.attempts import ERRORS
from crewflow_assets.twin.sync.parameters import TICK_MINUTES
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
        self._waits_until = np.full(len(world.fleet), np.nan)

    def see(self, view: View) -> None:
        """Keep the newest error of each integration, and the minute until which it said to wait."""
        if view.attempts is not None:
            done = view.attempts
            self._last[done.who] = done.error
            self._waits_until[done.who] = done.minute + done.retry_after_seconds / 60

    def risks(self, view: View) -> Mapping[int, Risk]:
        """Return those that failed at their last attempt."""
        return {
            int(place): Risk(SURE, [RiskFactor(code=CAUSE_OF[name], detail=name, contribution=SURE)], refusal)
            for place in np.flatnonzero(self._last)
            for name in [ERRORS[self._last[place]].name]
            for refusal in [self._refusal(int(place), view) if name == "rate_limit" else None]
        }

    def _refusal(self, place: int, view: View) -> RateLimitForecast | None:
        """Return what a refusal said, where the time to wait is longer than the tick."""
        left = float(self._waits_until[place]) - view.tick * TICK_MINUTES
        if not left > TICK_MINUTES:
            return None
        return RateLimitForecast(
            minutes=0, low_minutes=0, high_minutes=0, probability=1, reset_minutes=left, reset_stated=True
        )
