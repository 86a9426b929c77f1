"""When a rate limit will be hit."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.sync_health import limits
from crewflow_assets.sync_health.limits import WITHIN_MINUTES, forecast
from crewflow_assets.sync_health.measures import MINUTE

NOW = 1_700_000_040 * 1_000_000.0


def described(
    left: Sequence[float],
    every: float = 15.0,
    *,
    limit: float = 1400.0,
    retry_after: float = math.nan,
    error: float = 0.0,
    anew: float | None = None,
    watched_hours: float = 24.0,
) -> dict[str, np.ndarray]:
    """Return an integration's last calls left, oldest first, one each so many minutes; the next sync is due now.

    The calls began anew once in the last 24 hours, ``anew`` minutes after this minute of the day, if given, and were
    reported for so many of these hours.
    """
    newest_first = left[::-1]
    found = {"micros": np.array([NOW]), "lead": np.array([0.0]), "last_retry_after": np.array([retry_after])}
    found["last_calls_limit"], found["error_1"] = np.array([limit]), np.array([error])
    found["anew_24h"] = np.array([0.0 if anew is None else 1.0])
    found["anew_minute_24h"] = np.array([(NOW // MINUTE + (anew or 0)) % 1440])
    found["watched_24h"] = np.array([watched_hours * 60 * MINUTE])
    for k in range(1, 5):
        found[f"calls_left_{k}"] = np.array([newest_first[k - 1] if k <= len(left) else math.nan])
        found[f"micros_{k}"] = np.array([NOW - k * every * MINUTE if k <= len(left) else math.nan])
    return found


def test_the_median_lies_in_the_interval_and_beyond_what_the_last_pace_says() -> None:
    found = forecast(described([650, 550, 450, 350], limit=700), 0)  # half of the limit is used
    assert found is not None
    at_pace = 350 / (100 / 15) - 15
    assert at_pace < found.minutes < 3 * at_pace
    assert found.high_minutes is not None
    assert found.low_minutes < found.minutes < found.high_minutes


def test_the_interval_is_as_wide_as_it_was_seen_to_be() -> None:
    last, pace = 15.0, 100 / 15  # minutes since the last attempt, calls a minute
    median = 350 / pace * limits.TYPICAL_AT_HALF
    found = forecast(described([650, 550, 450, 350], limit=700), 0)
    assert found is not None

    def share_by(minutes: float) -> float:
        return 1 / (1 + math.pow(median / minutes, 1 / limits.SPREAD))

    def by(minutes: float | None) -> float:
        assert minutes is not None
        return (share_by(last + minutes) - share_by(last)) / (1 - share_by(last))

    ends = [by(found.low_minutes), by(found.minutes), by(found.high_minutes)]
    assert ends == pytest.approx(limits.SAID[1:-1], abs=0.002)


@given(
    left=st.lists(st.integers(0, 3000), min_size=4, max_size=4), limit=st.just(3000.0) | st.just(math.nan),
    every=st.sampled_from([15.0, 60.0, 240.0]),
)  # fmt: skip
def test_a_forecast_agrees_with_itself(left: list[float], limit: float, every: float) -> None:
    found = forecast(described(sorted(left, reverse=True), every, limit=limit), 0)
    if found is None:
        return
    high = math.inf if found.high_minutes is None else found.high_minutes
    assert 0 <= found.low_minutes <= found.minutes <= high
    assert (found.probability >= 0.5) == (found.minutes <= WITHIN_MINUTES) or abs(
        found.minutes - WITHIN_MINUTES
    ) < 0.2
    assert (found.probability > 0.1) == (found.low_minutes < WITHIN_MINUTES) or abs(found.low_minutes - 120) < 0.2


def test_the_more_is_used_the_likelier_it_is_hit() -> None:
    much, little = (forecast(described([1000, 900, 800, 700], limit=limit), 0) for limit in (7000.0, 1000.0))
    assert little is not None
    assert much is not None
    assert little.minutes > much.minutes
    assert little.probability < much.probability


def test_a_distant_limit_is_unlikely_within_two_hours() -> None:
    assert forecast(described([5000, 4990, 4980, 4000 + 970]), 0) is None  # over a day away
    found = forecast(described([1000, 970, 940, 910]), 0)
    assert found is not None
    assert found.minutes > 600
    assert found.probability < 0.2


def test_calls_that_began_anew_are_no_pace() -> None:
    found, steady = (forecast(described(left), 0) for left in ([50, 1000, 900, 800], [1100, 1000, 900, 800]))
    assert found == steady


def test_what_is_beyond_the_moment_at_which_calls_begin_anew_is_never_hit() -> None:
    left = [1000.0, 900, 800, 700]
    plain, late = forecast(described(left), 0), forecast(described(left, anew=600), 0)
    assert plain is not None
    assert late is not None
    assert (late.minutes, late.probability, late.reset_minutes) == (plain.minutes, plain.probability, 600)
    soon = forecast(described(left, anew=plain.minutes + 1), 0)
    assert soon is not None
    assert soon.high_minutes is None  # may never happen
    assert forecast(described(left, anew=plain.minutes - 1), 0) is None


def test_calls_that_began_anew_since_the_last_attempt_are_no_threat() -> None:
    assert forecast(described([200, 100, 50, 0], anew=-5), 0) is None
    assert forecast(described([200, 100, 50, 0], anew=6), 0) is not None
    assert forecast(described([200, 100, 50, 0], anew=5), 0) is None  # it may be a little early


@pytest.mark.parametrize(
    ("watched_hours", "every", "inferred"),
    [(23.75, 15, True), (23.7, 15, False), (2, 15, False), (24, 300, True), (24, 301, False)],
    ids=["all day", "with a gap", "new", "seldom", "too seldom"],
)
def test_that_calls_of_a_day_begin_anew_is_inferred_from_a_whole_day(
    watched_hours: float, every: float, inferred: bool
) -> None:
    found = forecast(described([200, 100, 50, 0], every, anew=600, watched_hours=watched_hours), 0)
    assert found is not None
    assert (found.reset_minutes, found.reset_stated) == (600 if inferred else None, False)


def test_a_refusal_that_says_how_long_to_wait_is_a_limit_until_then() -> None:
    found = forecast(described([60, 50, 40, 30], retry_after=100 * 60.0, error=1.0), 0)
    assert found is not None
    assert (found.minutes, found.probability, found.reset_minutes) == (0, 1, 85)  # the attempt was 15 minutes ago
    assert found.reset_stated
    assert forecast(described([60, 50, 40, 30], retry_after=100 * 60.0, error=3.0), 0) != found  # a server's word
    unreported = forecast(described([math.nan] * 4, retry_after=100 * 60.0, error=1.0), 0)
    assert unreported == found


@pytest.mark.parametrize("left", [[], [100.0], [100.0, 90.0], [90.0, 100.0, 80.0, 100.0], [70.0, 70.0, 70.0, 70.0]])
def test_nothing_is_said_where_nothing_is_known_or_used(left: list[float]) -> None:
    assert forecast(described(left), 0) is None


def test_a_limit_that_is_hit_already_is_hit_now() -> None:
    found = forecast(described([200, 100, 50, 0]), 0)
    assert found is not None
    assert (found.minutes, found.low_minutes, found.high_minutes, found.probability) == (0, 0, 0, 1)


def test_calls_that_will_have_begun_anew_are_no_threat() -> None:
    assert forecast(described([200, 100, 50, 0], retry_after=15 * 60.0), 0) is None
    assert forecast(described([200, 100, 50, 0], retry_after=20 * 60.0), 0) is None  # it may run a little late
    assert forecast(described([200, 100, 50, 0], retry_after=21 * 60.0), 0) is not None
