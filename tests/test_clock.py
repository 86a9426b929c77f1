"""The clock: aware UTC, movable in one thread or task alone."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from crewflow_assets import clock

MOMENT = datetime(2026, 3, 2, 14, 0, 0, 123456, tzinfo=UTC)


def test_the_clock_runs_in_utc() -> None:
    first = clock.now()
    assert first.tzinfo is UTC
    assert clock.now() >= first


def test_a_fixed_clock_stands_still_and_runs_again_afterwards() -> None:
    with clock.fixed(MOMENT):
        assert clock.now() == clock.now() == MOMENT
        with clock.fixed(MOMENT + timedelta(days=1)):
            assert clock.now() == MOMENT + timedelta(days=1)
        assert clock.now() == MOMENT
    assert clock.now() != MOMENT


def test_a_fixed_clock_runs_again_after_an_error() -> None:
    with pytest.raises(RuntimeError), clock.fixed(MOMENT):
        raise RuntimeError
    assert clock.now() != MOMENT


def test_another_zone_is_answered_in_utc() -> None:
    with clock.fixed(MOMENT.astimezone(timezone(timedelta(hours=12)))):
        assert clock.now() == MOMENT
        assert clock.now().tzinfo is UTC


def test_other_threads_keep_the_real_time() -> None:
    seen: list[datetime] = []
    with clock.fixed(MOMENT):
        thread = threading.Thread(target=lambda: seen.append(clock.now()))
        thread.start()
        thread.join()
    assert seen[0] != MOMENT


def test_a_moment_without_a_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no timezone"), clock.fixed(MOMENT.replace(tzinfo=None)):
        pass
