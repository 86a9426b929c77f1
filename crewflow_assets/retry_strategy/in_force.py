"""What counts how much in this installation: the settings of retries as values of a plan."""

import math
from functools import lru_cache

from crewflow_assets.retry_strategy.plan import Values
from crewflow_assets.settings import get_settings


def values_in_force() -> Values:
    """Return what counts how much, as it is set."""
    s = get_settings()
    return _values(
        s.retry_success_value,
        s.retry_call_cost,
        s.retry_waiting_cost,
        s.retry_giving_up_cost,
        s.retry_exploration,
        math.inf if s.retry_deadline_hours is None else s.retry_deadline_hours,
    )


@lru_cache(maxsize=8)
def _values(
    success: float, call: float, waiting: float, giving_up: float, exploration: float, deadline_hours: float
) -> Values:
    return Values(
        success=success,
        call=call,
        waiting=waiting,
        giving_up=giving_up,
        exploration=exploration,
        deadline_hours=deadline_hours,
    )
