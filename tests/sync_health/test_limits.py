"""When a rate limit will be hit."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from crewflow_assets.sync_health.limits import forecast
from crewflow_assets.sync_health.measures import MINUTE

NOW = 1_700_000_000 * 1_000_000.0


def described(left: Sequence[float], every: float = 15.0) -> dict[str, np.ndarray]:
    """Return an integration's last calls left, oldest first, one each so many minutes; the next sync is due now."""
    newest_first = left[::-1]
    found = {"micros": np.array([NOW]), "lead": np.array([0.0])}
    for k in range(1, 5):
        found[f"calls_left_{k}"] = np.array([newest_first[k - 1] if k <= len(left) else math.nan])
        found[f"micros_{k}"] = np.array([NOW - k * every * MINUTE if k <= len(left) else math.nan])
    return found


def test_a_steady_pace_goes_on() -> None:
    found = forecast(described([1000, 900, 800, 700]), 0)
    assert found is not None
    assert found.minutes == pytest.approx(700 / (100 / 15) - 15)
    assert found.low_minutes < found.minutes < (found.high_minutes or math.inf)
    assert found.probability > 0.5


def test_an_unsteady_pace_has_a_wider_interval() -> None:
    steady, unsteady = (forecast(described(left), 0) for left in ([1000, 900, 800, 700], [1000, 990, 720, 700]))
    assert steady is not None
    assert unsteady is not None
    assert unsteady.minutes == steady.minutes
    assert unsteady.low_minutes < steady.low_minutes
    assert unsteady.high_minutes is None


def test_a_distant_limit_is_unlikely_within_two_hours() -> None:
    found = forecast(described([5000, 4990, 4980, 4000 + 970]), 0)
    assert found is None  # over a day away
    found = forecast(described([1000, 980, 960, 940]), 0)
    assert found is not None
    assert found.minutes > 600
    assert found.probability < 0.05


def test_calls_that_began_anew_are_no_pace() -> None:
    found = forecast(described([50, 1000, 900, 800]), 0)
    assert found is not None
    assert found.minutes == pytest.approx(800 / (100 / 15) - 15)


@pytest.mark.parametrize("left", [[], [100.0], [100.0, 90.0], [90.0, 100.0, 80.0, 100.0], [70.0, 70.0, 70.0, 70.0]])
def test_nothing_is_said_where_nothing_is_known_or_used(left: list[float]) -> None:
    assert forecast(described(left), 0) is None


def test_a_limit_that_is_hit_already_is_hit_now() -> None:
    found = forecast(described([200, 100, 50, 0]), 0)
    assert found is not None
    assert (found.minutes, found.low_minutes) == (0, 0)
    assert found.probability > 0.9
