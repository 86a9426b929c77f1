"""What is kept in memory describes a sync as the query over the store does, and changes with it."""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import Engine, event

from crewflow_assets import clock
from crewflow_assets.arrays import Floats
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.lake import inbox
from crewflow_assets.sync_health import online, surroundings
from crewflow_assets.sync_health import recent as recent_module
from crewflow_assets.sync_health.answering import due_table
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.features import columns_of, feature_rows
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.online import online_of
from crewflow_assets.sync_health.recent import Recent, recent
from tests.sync_health.syncs import BEGIN, attempts, history, statuses, sync
from tests.sync_health.test_table import write_lake
from tests.sync_health.watching import COMPANY, I_3, NOON, add_companies, attempt, post

HOUR = timedelta(hours=1)
UNKNOWN = ("c-1", "never")


def by_query(keys: list[Key], at: datetime) -> dict[str, Floats]:
    stored = recent()
    stored.refresh(at)
    with stored.cursor(at) as cursor:
        described = stored.described(cursor, due_table(cursor, keys, at), at)
    places = list(zip(described["company_id"].to_pylist(), described["integration_id"].to_pylist(), strict=True))
    return columns_of(described.take(pa.array([places.index(key) for key in keys])))


def in_memory(keys: list[Key], at: datetime) -> dict[str, Floats]:
    stored = recent()
    stored.refresh(at)
    return online_of(stored).described(keys, at)


def assert_same(keys: list[Key], at: datetime) -> None:
    truth, found = by_query(keys, at), in_memory(keys, at)
    assert truth.keys() == found.keys()
    for name, values in truth.items():
        np.testing.assert_array_equal(found[name], values, err_msg=f"{name} at {at}")


def as_event(row: dict[str, Any]) -> EventIn:
    said = {name: row[name] for name in row.keys() - {"event_id", "company_id", "occurred_at", "lead_minutes"}}
    return EventIn(
        event_id=row["event_id"],
        kind="sync_attempt",
        company_id=row["company_id"],
        occurred_at=row["occurred_at"],
        payload={name: value for name, value in said.items() if value is not None},
    )


def status(at: datetime, said: str, system: str = "quickbooks") -> EventIn:
    return EventIn(
        event_id=f"{system}@{at}",
        kind="api_status",
        company_id="c-0",
        occurred_at=at,
        payload={"system": system, "status": said},
    )


def test_numbers_are_those_of_the_query_at_any_moment(sqlite_store: Engine) -> None:
    rows = history(5, integrations=8, days=3)
    add_companies(*sorted({row["company_id"] for row in rows}))
    posted = [as_event(row) for row in rows]
    posted += [
        status(BEGIN + h * HOUR, said) for h, said in ((30, "partial_outage"), (31, "operational"), (60, "degraded"))
    ]
    post(*posted, status(BEGIN + 40 * HOUR, "maintenance", "xero"))
    keys = [*sorted({(row["company_id"], row["integration_id"]) for row in rows}), UNKNOWN]
    for hours in (0.2, 5, 30.99, 31.01, 47.6, 71.9, 90):
        assert_same(keys, BEGIN + timedelta(hours=hours, microseconds=17))


def test_what_is_posted_changes_what_is_kept(sqlite_store: Engine) -> None:
    add_companies(COMPANY, "c-2")
    post(*(attempt(NOON - hours * HOUR, interval_minutes=60) for hours in range(30, 0, -1)))
    other = ("c-2", "i-9")
    assert_same([I_3, other], NOON)
    before = in_memory([I_3], NOON)
    post(attempt(NOON - HOUR / 2, ok=False, status_code=503), attempt(NOON - HOUR / 4, ok=False, key=other))
    after = in_memory([I_3], NOON)
    assert [*before["last_succeeded"], *after["last_succeeded"]] == [1, 0]
    assert after["fleet_failed_60m"] == [2]
    assert_same([I_3, other], NOON)


def test_what_comes_in_bit_by_bit_is_taken_up_late_events_and_all(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "KEPT_LONGER", timedelta(minutes=20))
    random = np.random.default_rng(3)
    rows = history(9, integrations=8, days=2)
    add_companies(*sorted({row["company_id"] for row in rows}))
    keys = sorted({(row["company_id"], row["integration_id"]) for row in rows})
    begin = BEGIN + 30 * HOUR
    late = random.random(len(rows)) < 0.2
    arrives = [row["occurred_at"] + random.uniform(0, 5) * HOUR * late[n] for n, row in enumerate(rows)]
    post(*(as_event(row) for row, at in zip(rows, arrives, strict=True) if at < begin))
    assert_same(keys, begin)
    reads: list[datetime] = []
    read = surroundings.Surroundings._read

    def counted(self: surroundings.Surroundings, cursor: Any, since: datetime) -> None:
        reads.append(since)
        read(self, cursor, since)

    monkeypatch.setattr(surroundings.Surroundings, "_read", counted)
    last = begin
    for minutes in (7, 13, 31, 40, 95, 100, 240, 300, 420):
        at = begin + timedelta(minutes=minutes)
        fresh = [as_event(row) for row, moment in zip(rows, arrives, strict=True) if last <= moment < at]
        if fresh:
            post(*fresh, status(at - HOUR / 9, "degraded"))
        assert_same([*keys, UNKNOWN], at)
        last = at
    assert not reads
    assert_same(keys, begin)  # an earlier moment is asked about
    assert len(reads) == 1


def test_an_integration_that_was_displaced_is_read_again(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "KEPT_INTEGRATIONS", 1)
    add_companies(COMPANY, "c-2")
    post(attempt(NOON - HOUR), attempt(NOON - HOUR / 2, ok=False, key=("c-2", "i-9")))
    for _ in range(2):
        assert_same([I_3], NOON)
        assert_same([("c-2", "i-9"), I_3], NOON)


def test_integrations_that_ended_are_forgotten_with_their_attempts(sqlite_store: Engine) -> None:
    add_companies(COMPANY)
    later = NOON + timedelta(days=2 * recent_module.KEPT_DAYS)
    gone = (COMPANY, "i-gone")
    with clock.fixed(NOON):
        post(attempt(NOON - HOUR, key=gone), attempt(NOON - HOUR / 2))
        in_memory([I_3], NOON)
        post(attempt(NOON - HOUR / 4))
        in_memory([I_3], NOON)
    assert recent().version(I_3)[1] == 1
    assert gone in online_of(recent())._surroundings._numbers
    with clock.fixed(later):
        post(attempt(later - HOUR))
        assert_same([I_3], later)
    assert list(recent()._versions) == []
    assert list(online_of(recent())._surroundings._numbers) == [I_3]


def test_events_are_read_once(sqlite_store: Engine) -> None:
    add_companies(COMPANY)
    post(*(attempt(NOON - minutes * HOUR / 60) for minutes in range(300, 0, -1)))
    with clock.fixed(NOON):
        recent().refresh(NOON)
        payloads: list[str] = []
        event.listen(
            sqlite_store,
            "before_cursor_execute",
            lambda *given: payloads.append(given[2]) if "payload" in given[2] else None,
        )
        recent().refresh(NOON)
        assert payloads == []
        post(attempt(NOON + HOUR))
        payloads.clear()
        recent().refresh(NOON)
        assert len(payloads) == 1
    assert_same([I_3], NOON + 2 * HOUR)


def test_of_a_frequent_integration_the_last_days_are_enough(sqlite_store: Engine) -> None:
    # "again" has as many attempts in one day as measures look at, and nothing for long before: it needs the old one
    minutes: dict[str, Sequence[int]] = {"often": range(0, 20 * 1440, 15), "daily": range(0, 20 * 1440, 1440)}
    minutes["again"] = (0, *range(19 * 1440 + 60, 20 * 1440, 30))
    every = {"often": 15.0, "daily": 1440.0, "again": 30.0}
    rows = [
        sync(minute, minute % 105 > 0, integration_id=name, interval_minutes=every[name])
        for name, moments in minutes.items()
        for minute in moments
    ]
    write_lake(rows)
    at = BEGIN + timedelta(days=20)
    stored = recent()
    stored.refresh(at)
    with stored.connected() as cursor:
        kept = dict(cursor.execute("SELECT integration_id, count(*) FROM sync_attempt GROUP BY ALL").fetchall())
    assert kept == {"often": 8 * 96, "daily": 20, "again": len(minutes["again"])}
    keys = [("c-1", name) for name in minutes]
    assert_same(keys, at)
    trained = describe(attempts([*rows, *(sync(20 * 1440, integration_id=name) for _, name in keys)]), statuses())
    trained = trained.filter(pc.equal(trained["occurred_at"], pa.scalar(at)))
    trained = trained.take(pa.array([trained["integration_id"].to_pylist().index(name) for _, name in keys]))
    np.testing.assert_array_equal(feature_rows(in_memory(keys, at)), feature_rows(columns_of(trained)))


def test_a_read_that_fails_leaves_nothing_behind(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_companies(COMPANY, "c-2")
    other = ("c-2", "i-9")
    post(*(attempt(NOON - hours * HOUR, interval_minutes=60) for hours in range(30, 0, -1)))
    in_memory([I_3], NOON)
    post(attempt(NOON - HOUR / 4, ok=False, key=other, status_code=503))

    def broken(*_given: Any) -> None:
        raise MemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(surroundings.Describing, "rows", broken)
        with pytest.raises(MemoryError):
            in_memory([I_3], NOON)
    assert_same([I_3], NOON)
    post(attempt(NOON - HOUR / 5, ok=False, key=other))
    monkeypatch.setattr(inbox, "COUNT_EVERY_SECONDS", 0)
    add = Recent._add

    def broken_after(self: Recent, kind: str, rows: Sequence[Any]) -> None:
        add(self, kind, rows)
        broken()

    with monkeypatch.context() as patched:
        patched.setattr(Recent, "_add", broken_after)
        with pytest.raises(MemoryError):
            recent().refresh(NOON)
    assert_same([I_3, other], NOON)
    assert in_memory([I_3], NOON)["fleet_failed_60m"] == [2]


def test_what_is_read_anew_is_not_described_in_part(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_companies(COMPANY, "c-2")
    other, later = ("c-2", "i-9"), NOON + timedelta(days=36)
    post(*(attempt(NOON - hours * HOUR, interval_minutes=60) for hours in range(300, 0, -1)))
    post(attempt(NOON - 3 * HOUR, key=other))
    in_memory([I_3], NOON)
    post(*(attempt(later - hours * HOUR, interval_minutes=60) for hours in range(5, 0, -1)))
    stored = recent()
    reading, go_on, found = threading.Event(), threading.Event(), []
    begin = inbox.Inbox.begin

    def slowly(self: inbox.Inbox) -> None:
        reading.set()
        assert go_on.wait(20)
        begin(self)

    with monkeypatch.context() as patched:
        patched.setattr(inbox.Inbox, "begin", slowly)
        reloading = threading.Thread(target=stored.refresh, args=(later,))
        asking = threading.Thread(target=lambda: found.append(online_of(stored).described([I_3], later)))
        reloading.start()
        assert reading.wait(20)
        asking.start()  # it was up to date when it asked
        asking.join(0.5)
        assert not found
        go_on.set()
        reloading.join(20)
        asking.join(20)
    assert found[0]["attempts_24h"] == [5]
    post(attempt(later - HOUR / 4, ok=False, key=other), attempt(later - HOUR / 5, ok=False))
    assert_same([I_3, other], later)


def test_a_query_never_sees_what_is_being_read_anew(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_companies(COMPANY)
    later = NOON + timedelta(days=36)
    post(*(attempt(NOON - hours * HOUR, interval_minutes=60) for hours in range(30, 0, -1)))
    stored = recent()
    stored.refresh(NOON)
    post(*(attempt(later - hours * HOUR, interval_minutes=60) for hours in range(5, 0, -1)))
    reading, go_on = threading.Event(), threading.Event()
    add = Recent._add

    def slowly(self: Recent, kind: str, rows: Sequence[Any]) -> None:
        reading.set()
        assert go_on.wait(20)
        add(self, kind, rows)

    def attempts_24h(cursor: Any) -> list[int]:
        found = stored.described(cursor, due_table(cursor, [I_3], NOON), NOON)["attempts_24h"].to_pylist()
        return [int(n) for n in found]

    def attempts_24h_now() -> list[int]:
        with stored.cursor(NOON) as cursor:
            return attempts_24h(cursor)

    with stored.cursor(NOON) as opened, monkeypatch.context() as patched:
        patched.setattr(Recent, "_add", slowly)
        reloading = threading.Thread(target=stored.refresh, args=(later,))
        reloading.start()
        assert reading.wait(20)
        assert attempts_24h_now() == [24]  # beside it
        go_on.set()
        reloading.join(20)
        assert attempts_24h(opened) == [24]  # across it
    assert attempts_24h_now() == [0]
