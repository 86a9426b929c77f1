"""The attempts in memory against those that are read anew."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event

from crewflow_assets.lake import inbox
from crewflow_assets.retry_strategy import recent as recent_module
from crewflow_assets.retry_strategy.recent import KEPT, SLACK, WINDOW, Recent
from crewflow_assets.retry_strategy.surroundings import Seen
from tests.retry_strategy.asking import MINUTE, NOON, add_companies, attempt, outcome, post


@pytest.fixture
def store(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(inbox, "COUNT_EVERY_SECONDS", 0)
    add_companies()
    return sqlite_store


def rows(seen: Seen, at: datetime) -> list[tuple[Any, ...]]:
    """Return the attempts of the two hours before a moment, in order; NaN as None, so that they can be compared."""
    end = at.timestamp() * 1e6
    within = (seen.micros >= end - WINDOW / timedelta(microseconds=1)) & (seen.micros < end)
    columns = [getattr(seen, field.name)[within].tolist() for field in fields(Seen)]
    return sorted(tuple(None if value != value else value for value in row) for row in zip(*columns, strict=True))


def test_what_was_posted_is_seen_without_reading_all_anew(store: Engine) -> None:
    recent, anew = Recent(), Recent
    random = np.random.default_rng(0)
    at, number = NOON, 0
    for _ in range(40):
        for company in ("c-1", "c-2"):
            number += 1
            late = float(random.exponential(30))
            limit = {"calls_left": number, "calls_limit": 500} if random.random() < 0.5 else {}
            post(attempt(number, company, at - late * MINUTE, ok=bool(random.random() < 0.7), **limit), at=at)
        assert rows(recent.seen(at), at) == rows(anew().seen(at), at)
        at += float(random.exponential(10)) * MINUTE + KEPT
    assert 0 < len(recent.seen(at).ok) < number  # old ones were forgotten


def test_an_attempt_is_read_once(store: Engine) -> None:
    post(*(attempt(number, "c-1", NOON - number * MINUTE) for number in range(1, 30)))
    recent, read = Recent(), []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        read.append(statement)

    recent.seen(NOON)
    recent.seen(NOON + KEPT)
    event.listen(store, "before_cursor_execute", note)
    recent.seen(NOON + 2 * KEPT)
    assert not [statement for statement in read if "payload" in statement]
    post(attempt(30, "c-1", NOON))
    assert len(recent.seen(NOON + 3 * KEPT).ok) == 30
    event.remove(store, "before_cursor_execute", note)


def test_other_events_are_no_attempts(store: Engine) -> None:
    recent = Recent()
    assert not len(recent.seen(NOON).ok)
    post(outcome(1, "c-1", NOON), attempt(2, "c-1", NOON - 2 * WINDOW), attempt(3, "c-2", NOON))
    assert recent.seen(NOON + KEPT).company.tolist() == ["c-2"]


def test_a_thread_that_asks_a_moment_earlier_does_not_begin_anew(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = Recent()
    post(attempt(1, "c-1", NOON))
    recent.seen(NOON + MINUTE)
    begun: list[datetime] = []
    begin = Recent._begin

    def noted(self: Recent, since: datetime) -> None:
        begun.append(since)
        begin(self, since)

    monkeypatch.setattr(Recent, "_begin", noted)
    recent.seen(NOON + MINUTE - SLACK / 2)
    assert not begun
    recent.seen(NOON - MINUTE)
    assert begun == [NOON - MINUTE - WINDOW - SLACK]


def test_what_could_not_be_taken_up_is_taken_up_by_the_next_look(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = Recent()
    recent.seen(NOON)
    post(attempt(1, "c-1", NOON))

    def broken(self: Recent, rows: Sequence[Any]) -> None:
        raise MemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Recent, "_add", broken)
        with pytest.raises(MemoryError):
            recent.seen(NOON + KEPT)
    assert len(recent.seen(NOON + KEPT).ok) == 1


def test_what_failed_halfway_is_no_state(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    recent = Recent()
    recent.seen(NOON)
    post(attempt(1, "c-1", NOON))

    def broken(*_given: Any) -> None:
        raise MemoryError("out of memory")

    for name in ("_ids", "_columns"):
        with monkeypatch.context() as patched:
            patched.setattr(recent_module, name, broken)
            with pytest.raises(MemoryError):
                recent.seen(NOON + KEPT)
    assert recent.seen(NOON + KEPT).company.tolist() == ["c-1"]
    assert recent.seen(NOON + 2 * WINDOW).company.tolist() == []


def test_after_a_quiet_time_two_hours_are_read_and_not_all_since(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent, later = Recent(), NOON + 2 * WINDOW
    recent.seen(NOON)
    post(*(attempt(number, "c-1", NOON + number * MINUTE) for number in range(240)), at=later)
    read: list[int] = []
    columns = recent_module._columns

    def noted(rows: Sequence[Any]) -> Seen:
        read.append(len(rows))
        return columns(rows)

    monkeypatch.setattr(recent_module, "_columns", noted)
    recent.seen(later)
    assert read == [(WINDOW + SLACK) / MINUTE]
