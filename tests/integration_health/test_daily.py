"""Daily scores: the 30 days before the end of each day, from the lake, whatever the machine's timezone."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.integration_health import daily
from crewflow_assets.integration_health.daily import metrics_of, unscored_days, write_scores
from crewflow_assets.integration_health.score import Metrics
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.sync_tables import HealthScore
from crewflow_assets.sync_health.integrations import register
from tests.sync_health.watching import COMPANY, DAY, MINUTE, NOON, add_companies, attempt, everything, post
from tests.worlds import write_lake

TODAY = NOON.date()


@pytest.fixture
def company(sqlite_store: Engine) -> str:
    add_companies(COMPANY, "c-2")
    return COMPANY


@pytest.fixture
def company_everywhere(store: Engine) -> str:
    add_companies(COMPANY, "c-2")
    return COMPANY


def decision(at: datetime, conflict: str, kind: str, number: int = 0) -> EventIn:
    payload: dict[str, Any] = {
        "conflict_id": conflict,
        "conflict_type": kind,
        "resolution": "use_crewflow",
        "decided_by": "dana",
    }
    return EventIn(
        event_id=f"{conflict}-{number}", kind="conflict_decision", company_id=COMPANY, occurred_at=at, payload=payload
    )


def lake(*kinds: str) -> None:
    with clock.fixed(NOON + 60 * DAY):
        for kind in kinds:
            write_lake(kind)


def score(*days: date, at: datetime = NOON + 2 * DAY) -> int:
    with clock.fixed(at):
        return write_scores(days)


def test_the_metrics_of_the_last_30_days(company: str) -> None:
    post(
        attempt(NOON - 29 * DAY, latency_ms=900),
        attempt(NOON - 30 * DAY, ok=False, latency_ms=9_000),
        attempt(NOON - DAY, ok=False, latency_ms=300),
        attempt(NOON, ok=True),
        attempt(NOON, key=("c-2", "i-3"), system="xero", latency_ms=50),
    )
    lake("sync_attempt")
    found = metrics_of([TODAY, TODAY + DAY, TODAY - 40 * DAY])
    assert found[COMPANY, "i-3", TODAY] == Metrics(3, 2, 600.0, 1, 0, 0)
    assert found[COMPANY, "i-3", TODAY + DAY] == Metrics(2, 1, 300.0, 1, 0, 0)
    assert found["c-2", "i-3", TODAY].avg_latency_ms == 50
    assert (COMPANY, "i-3", TODAY - 40 * DAY) not in found


def test_a_day_is_one_of_utc(company: str) -> None:
    midnight = NOON - timedelta(hours=12)
    post(attempt(midnight - timedelta(microseconds=1)), attempt(midnight, ok=False, key=(COMPANY, "i-4")))
    lake("sync_attempt")
    found = metrics_of([TODAY - DAY, TODAY])
    assert {(name, day) for _, name, day in found} == {("i-3", TODAY - DAY), ("i-3", TODAY), ("i-4", TODAY)}


def test_conflicts_and_duplicates_of_the_company_count_once_each(company: str) -> None:
    post(
        attempt(NOON, latency_ms=100),
        decision(NOON - DAY, "x-1", "hours_mismatch"),
        decision(NOON, "x-1", "hours_mismatch", 1),
        decision(NOON, "x-2", "duplicate"),
        decision(NOON - 31 * DAY, "x-3", "hours_mismatch"),
    )
    lake("sync_attempt", "conflict_decision")
    found = metrics_of([TODAY])[COMPANY, "i-3", TODAY]
    assert (found.conflicts, found.duplicates) == (1, 1)


def test_scores_are_written_for_every_known_integration_and_again_in_place(company_everywhere: str) -> None:
    post(attempt(NOON, latency_ms=400))
    with clock.fixed(NOON), transaction() as session:
        register(session, company_id="c-2", integration_id="i-9", system="sage", actor="dana")
    lake("sync_attempt")
    assert score(TODAY - DAY, TODAY) == 2
    scored, silent = everything(HealthScore)
    assert (scored.integration_id, scored.day, scored.overall) == ("i-3", TODAY, (100 + 60 + 100 + 100) / 4)
    assert (silent.integration_id, silent.total_syncs, silent.overall, silent.data_quality) == ("i-9", 0, None, None)
    post(attempt(NOON + MINUTE, ok=False, latency_ms=400))
    lake("sync_attempt")
    score(TODAY)
    assert [row.successful_syncs / max(row.total_syncs, 1) for row in everything(HealthScore)] == [0.5, 0]


def test_the_days_to_score_begin_with_the_first_sync_and_end_yesterday(company_everywhere: str) -> None:
    with reading() as session:
        assert unscored_days(session) == []
    post(attempt(NOON - 2 * DAY))
    with clock.fixed(NOON), reading() as session:
        assert unscored_days(session) == [TODAY - 2 * DAY, TODAY - DAY]
    lake("sync_attempt")
    score(TODAY - 2 * DAY, TODAY - DAY, at=NOON)
    with clock.fixed(NOON), reading() as session:
        assert unscored_days(session) == []
    with clock.fixed(NOON + DAY), reading() as session:
        assert unscored_days(session) == [TODAY]


def test_without_a_lake_nothing_is_scored_but_the_known(company: str) -> None:
    assert metrics_of([TODAY]) == {}
    assert metrics_of([]) == {}


def test_what_the_lake_takes_up_while_days_are_scored_counts(
    company_everywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a run that read the lake earlier would write its scores over those of one that read it later."""
    post(attempt(NOON - DAY, latency_ms=400), attempt(NOON, latency_ms=400))
    lake("sync_attempt")
    read: list[list[date]] = []

    def reads_slowly(days: list[date]) -> dict[tuple[str, str, date], Metrics]:
        found = metrics_of(days)
        read.append(days)
        if len(read) == 1:
            post(attempt(NOON + MINUTE, ok=False, latency_ms=400))
            lake("sync_attempt")
            with monkeypatch.context() as patched:
                patched.setattr(daily, "metrics_of", metrics_of)
                assert score(TODAY) == 1
        return found

    monkeypatch.setattr(daily, "metrics_of", reads_slowly)
    assert score(TODAY, TODAY - DAY) == 2
    assert [(row.day, row.total_syncs, row.error_count) for row in everything(HealthScore)] == [
        (TODAY - DAY, 1, 0),
        (TODAY, 3, 1),
    ]
    assert read == [[TODAY - DAY, TODAY]] * 2


def test_scores_of_a_later_state_are_not_overwritten_by_a_run_that_has_compared_already(
    company_everywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run waits; it would otherwise write its scores between the comparison and these."""
    post(attempt(NOON, latency_ms=400))
    lake("sync_attempt")
    post(attempt(NOON + MINUTE, ok=False, latency_ms=400))
    write = daily._write
    other = Thread(target=score, args=[TODAY])

    def is_overtaken(session: Session, day: date, metrics: Mapping[tuple[str, str, date], Metrics]) -> int:
        monkeypatch.setattr(daily, "_write", write)
        lake("sync_attempt")
        other.start()
        other.join(2)
        return write(session, day, metrics)

    monkeypatch.setattr(daily, "_write", is_overtaken)
    score(TODAY)
    other.join()
    assert [row.total_syncs for row in everything(HealthScore)] == [2]


def test_a_run_that_dies_leaves_the_days_before_scored_and_none_after(
    company_everywhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days before a scored one are not looked for."""
    post(*(attempt(NOON - n * DAY) for n in range(4)))
    lake("sync_attempt")
    write = daily._write

    def dies(session: Session, day: date, metrics: Mapping[tuple[str, str, date], Metrics]) -> int:
        if day == TODAY - DAY:
            raise KeyboardInterrupt
        return write(session, day, metrics)

    monkeypatch.setattr(daily, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        score(TODAY - DAY, TODAY - 3 * DAY, TODAY - 2 * DAY)
    assert [row.day for row in everything(HealthScore)] == [TODAY - 3 * DAY, TODAY - 2 * DAY]
    with clock.fixed(NOON), reading() as session:
        assert unscored_days(session) == [TODAY - DAY]
