"""What is known of a conflict: from before it alone, and the same for training and serving."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.event import listen

from crewflow_assets import clock
from crewflow_assets.conflict_resolution import context
from crewflow_assets.conflict_resolution.context import cases_of, decided_cases, decided_in
from crewflow_assets.conflict_resolution.contract import ConflictRequest
from crewflow_assets.conflict_resolution.history import Decided, History, told_of
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.event_kinds import PAYLOADS, EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.lake.events import stale_days, write_days
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.twin.timecards.crews import Employer
from crewflow_assets.twin.timecards.filling import events_of
from crewflow_assets.twin.timecards.world import build_timecards
from tests.conflict_resolution.deciding import add_companies, told

END = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW = datetime(2026, 3, 2, 16, 0, tzinfo=UTC)


def card(worker: str, day: str, hours: float, *, side: str = "crewflow", project: str = "p-4") -> dict[str, Any]:
    values = {"hours": hours, "cost_code": "03-100", "worker_id": worker, "project_id": project, "date": day}
    return {
        "record_type": "timecard",
        "record_id": f"t-{worker}-{day}",
        "side": side,
        "version": "1",
        "values": values,
    }


def decision(conflict_id: str, resolution: str, **more: Any) -> dict[str, Any]:
    payload = {
        "conflict_id": conflict_id,
        "conflict_type": "hours_mismatch",
        "resolution": resolution,
        "decided_by": "dana",
    }
    return PAYLOADS["conflict_decision"].model_validate(payload | more).model_dump(mode="json")


def conflict(conflict_id: str = "x-1", **changes: Any) -> dict[str, Any]:
    return told(conflict_id, **changes).model_dump(mode="json")


def test_crew_mates_and_the_same_weekdays_before_are_third_records() -> None:
    history = History()
    for worker, day, hours in (
        ("w-1", "2026-03-01", 8.0),
        ("w-9", "2026-03-01", 8.0),
        ("w-9", "2026-02-22", 8.0),
        ("w-9", "2026-02-15", 7.5),
        ("w-9", "2026-02-23", 6.0),
    ):
        history.feed("c-1", "record_version", AT, card(worker, day, hours))
    history.feed("c-1", "record_version", AT, card("w-2", "2026-03-01", 4.0, project="p-9"))
    history.feed("c-1", "record_version", AT, card("w-3", "2026-03-01", 4.0, side="external"))
    history.feed("c-1", "record_version", AT, {**card("w-4", "x", 1.0), "values": {"anything": 1}})
    case = history.case_of(told_of(conflict()), AT)
    assert [(third.source, third.value) for third in case.third] == [
        ("crew", 8.0),
        ("previous_day", 8.0),
        ("previous_day", 7.5),
    ]
    assert (case.weekday, case.hours_since_sync) == (6, 6.0)


def test_records_that_make_no_sense_are_no_third_records_and_harm_nothing() -> None:
    history = History()
    for day in ("2026-02-30", "0000-01-01", "2026-13-01", "٢٠٢٦-٠٢-٠١", "20260301"):
        history.feed("c-1", "record_version", AT, card("w-9", day, 8.0))
    history.feed("c-1", "record_version", AT, card("w-9", "2026-03-01", 10**400))
    schedule = {**card("w-1", "2026-03-01", 10**400), "record_type": "schedule"}
    history.feed("c-1", "record_version", AT, schedule)
    assert history.case_of(told_of(conflict()), AT).third == ()


def test_choices_and_reliabilities_count_decisions_of_people_before_it() -> None:
    history = History()
    history.feed("c-1", "conflict", AT, conflict("x-1"))
    history.feed("c-1", "conflict", AT, conflict("x-2", values={"crewflow": 8.0, "external": 4.0}))
    assert history.feed("c-1", "conflict_decision", AT, decision("x-1", "use_external", method="model")) is None
    first = history.feed("c-1", "conflict_decision", AT, decision("x-1", "use_external", blind=True, propensity=0.05))
    assert isinstance(first, Decided)
    assert (first.case.choices[2], first.blind, first.propensity) == ((0.0, 0.0, 0.0), True, 0.05)
    history.feed("c-1", "conflict_decision", AT, decision("x-2", "use_crewflow"))
    case = history.case_of(told_of(conflict("x-3")), AT)
    assert case.choices == ((0.0, 1.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 0.0))
    assert (case.crewflow_reliability, case.worker_reliability) == (0.5, 0.5)
    assert history.feed("c-1", "conflict_decision", AT, decision("x-77", "manual")) is None


@pytest.fixture
def filled(sqlite_store: Engine) -> list[Any]:
    """Two simulated companies up to now, with the events of the last three days still to come."""
    employers = [Employer(f"c-{n}", "quickbooks", 6, END.date() - timedelta(days=40)) for n in (1, 2)]
    add_companies("c-1", "c-2")
    return [event for history in build_timecards(employers, seed=7, end=END) for event in events_of(history)]


def post(events: list[Any]) -> None:
    with clock.fixed(END), transaction() as session:
        record_events(session, sorted(events, key=lambda e: e.occurred_at), handlers=EVENT_HANDLERS)


def test_training_and_serving_know_the_same(filled: list[Any]) -> None:
    asked = sorted((e for e in filled if e.kind == "conflict"), key=lambda e: e.occurred_at)[-12:]
    served = {}
    done: set[str] = set()
    for event in asked:
        earlier = [e for e in filled if e.occurred_at < event.occurred_at and e.event_id + e.company_id not in done]
        post(earlier)
        done |= {e.event_id + e.company_id for e in earlier}
        payload = event.payload
        request = ConflictRequest(
            company_id=event.company_id,
            crewflow_value=payload["values"]["crewflow"],
            external_value=payload["values"]["external"],
            **{name: payload[name] for name in ("conflict_type", "worker_id", "project_id", "timecard_date")},
            **{name: payload[name] for name in ("crewflow_updated_at", "external_updated_at", "last_sync_timestamp")},
        )
        post([event])
        done.add(event.event_id + event.company_id)
        with reading() as session:
            served[payload["conflict_id"]] = cases_of(session, [request], event.occurred_at)[0]
    post([e for e in filled if e.event_id + e.company_id not in done])
    for kind in ("record_version", "conflict", "conflict_decision"):
        with reading() as session:
            write_days(session, kind, stale_days(session, kind))
    trained = {found.conflict_id: found.case for found in decided_cases(END)}
    same = served.keys() & trained.keys()
    assert len(same) >= 4
    for conflict_id in same:
        assert served[conflict_id] == trained[conflict_id], conflict_id


def asking(company: str) -> ConflictRequest:
    payload = conflict("x-9")
    return ConflictRequest(
        company_id=company,
        crewflow_value=8.0,
        external_value=7.5,
        **{name: payload[name] for name in ("conflict_type", "worker_id", "project_id", "timecard_date")},
        last_sync_timestamp=payload["last_sync_timestamp"],
    )


def choices_of(*companies: str) -> list[float]:
    with reading() as session:
        return [sum(case.choices[2]) for case in cases_of(session, [asking(c) for c in companies], NOW)]


def decided(company: str, number: int) -> list[EventIn]:
    common = {"company_id": company, "occurred_at": AT}
    return [
        EventIn(event_id=f"r-{company}-{number}", kind="conflict", payload=conflict(f"x-{number}"), **common),
        EventIn(
            event_id=f"d-{company}-{number}",
            kind="conflict_decision",
            payload=decision(f"x-{number}", "use_external"),
            **common,
        ),
    ]


def test_each_event_counts_once_whoever_is_asked_about_together(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_companies("c-1", "c-2", "c-3")
    post(decided("c-1", 1) + decided("c-2", 1))
    assert choices_of("c-1") == [1]
    post(decided("c-2", 2))
    assert choices_of("c-3", "c-2", "c-1", "c-2") == [0, 2, 1, 2]
    post(decided("c-1", 2) + decided("c-3", 1))
    assert choices_of("c-1", "c-2") == [2, 2]
    monkeypatch.setattr(context, "monotonic", lambda: time.monotonic() + 2 * context.SETTLE_EVERY_SECONDS)
    assert choices_of("c-1", "c-2", "c-3") == [2, 2, 1]
    post(decided("c-2", 3))
    assert choices_of("c-1", "c-2", "c-3") == [2, 3, 1]


def test_new_events_are_found_by_their_ids_and_not_among_all_of_a_company(sqlite_store: Engine) -> None:
    with reading() as session:
        asked = context.NEWER.params(companies=["c-1", "c-2"], after=7)
        query = asked.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        steps = " ".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid>?)" in steps


def test_a_company_that_is_far_behind_is_brought_up_to_date_from_its_own_events(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "FAR_BEHIND", 10)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "events.payload" in statement:
            asked.append(("by id" if "events.company_id ||" in statement else "by company", parameters))

    add_companies("c-1", "c-2")
    post(decided("c-1", 1) + decided("c-2", 1))
    assert choices_of("c-1", "c-2") == [1, 1]
    post([event for number in range(2, 9) for event in decided("c-2", number)])
    assert choices_of("c-2") == [8]
    post(decided("c-1", 2) + decided("c-2", 9))
    listen(sqlite_store, "before_cursor_execute", note)
    assert choices_of("c-1", "c-2") == [2, 9]
    assert [(how, {4, 18} & set(parameters)) for how, parameters in asked] == [("by company", {4}), ("by id", {18})]
    post(decided("c-1", 3))
    asked.clear()
    assert choices_of("c-1", "c-2") == [3, 9]
    assert [how for how, _ in asked] == ["by id"]


def test_the_events_of_one_company_are_found_by_its_index(sqlite_store: Engine) -> None:
    with reading() as session:
        query = context.OF_ONE.params(company="c-1", after=7)
        sql = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        steps = " ".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}")))
    assert "(company_id=?" in steps


def test_only_the_companies_asked_about_last_are_kept(store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MOST_COMPANIES", 2)
    add_companies("c-1", "c-2", "c-3")
    post(decided("c-1", 1) + decided("c-2", 1) + decided("c-3", 1))
    assert choices_of("c-1", "c-2", "c-3", "c-unknown") == [1, 1, 1, 0]
    assert choices_of("c-1") == choices_of("c-2") == choices_of("c-1") == choices_of("c-3") == [1]
    assert list(context._kept(str(store.url))._fed) == ["c-1", "c-3"]
    post(decided("c-2", 2))
    assert choices_of("c-2", "c-1") == [2, 1]


@pytest.fixture
def five_events(store: Engine, monkeypatch: pytest.MonkeyPatch) -> context._Kept:
    """Of five events the histories are kept; c-1 alone has eight, c-2 two."""
    monkeypatch.setenv("CREWFLOW_CONFLICT_EVENTS_KEPT", "5")
    get_settings.cache_clear()
    add_companies("c-1", "c-2")
    post([event for number in range(1, 5) for event in decided("c-1", number)])  # two events each
    post(decided("c-2", 1))
    return context._kept(str(store.url))


def test_no_more_than_so_many_events_are_kept_but_for_who_is_asked_about(five_events: context._Kept) -> None:
    assert choices_of("c-2") == [1]
    assert choices_of("c-1") == [4]
    assert (list(five_events._fed), five_events._events) == (["c-1"], {"c-1": 8})
    assert choices_of("c-2") == [1]
    assert (list(five_events._fed), five_events._events) == (["c-2"], {"c-2": 2})
    assert choices_of("c-1", "c-2") == [4, 1]


def test_a_company_with_more_events_than_are_kept_is_not_read_anew_at_each_request(
    five_events: context._Kept,
) -> None:
    assert choices_of("c-1") == [4]
    read_once = five_events._fed["c-1"][1]
    assert choices_of("c-1") == choices_of("c-1") == [4]
    assert five_events._fed["c-1"][1] is read_once


def test_that_histories_are_let_go_of_is_told_once_a_minute(
    five_events: context._Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(context, "monotonic", lambda: now)
    choices_of("c-2")
    assert caplog.messages == []
    for company in ("c-1", "c-2", "c-1", "c-2"):
        choices_of(company)
    assert [said[:61] for said in caplog.messages] == [
        "histories of conflicts let go of: 1, kept: 1 companies with 8"
    ]
    now += context.TELL_EVERY_SECONDS
    choices_of("c-2")
    assert "let go of: 3, kept: 1 companies with 2 events" in caplog.messages[-1]
    assert "CREWFLOW_CONFLICT_EVENTS_KEPT (5)" in caplog.messages[-1]


def test_the_lake_gives_what_the_events_give(filled: list[Any]) -> None:
    def stream() -> Iterator[tuple[str, datetime, str, Mapping[str, Any]]]:
        for event in sorted(filled, key=lambda e: (e.company_id, e.occurred_at)):
            payload = PAYLOADS[event.kind].model_validate(event.payload).model_dump(mode="json")
            yield event.company_id, event.occurred_at, event.kind, payload

    found = list(decided_in(stream()))
    decided = {e.payload["conflict_id"] for e in filled if e.kind == "conflict_decision"}
    assert {one.conflict_id for one in found} == decided
    assert all(one.opened_at < one.decided_at < END for one in found)


def people_first(history: History, **changes: Any) -> int:
    return history.case_of(told_of(conflict("x-9", **changes)), AT).people_first


def automatic(history: History, conflict_id: str, **changes: Any) -> None:
    history.feed("c-1", "conflict", AT, conflict(conflict_id, **changes))
    history.feed("c-1", "conflict_decision", AT, decision(conflict_id, "use_crewflow", method="model"))


def test_people_decide_the_next_cases_like_one_that_they_overrode() -> None:
    history = History()
    automatic(history, "x-1")
    assert people_first(history) == 0
    history.feed("c-1", "conflict_decision", AT, decision("x-1", "use_external"))
    assert people_first(history) == 3
    assert people_first(history, values={"crewflow": 8.0, "external": 3.0}) == 0, "another pattern is left alone"
    for number in (2, 3, 4):
        history.feed("c-1", "conflict", AT, conflict(f"x-{number}"))
        history.feed("c-1", "conflict_decision", AT, decision(f"x-{number}", "use_external"))
    assert people_first(history) == 0


def test_an_undo_leaves_the_next_cases_to_people_and_a_confirmation_does_not() -> None:
    history = History()
    automatic(history, "x-1")
    history.feed("c-1", "conflict_decision", AT, decision("x-1", "use_crewflow"))
    assert people_first(history) == 0
    automatic(history, "x-2")
    history.feed("c-1", "conflict_decision", AT, decision("x-2", "use_crewflow", action="undo", method="model"))
    assert people_first(history) == 4, "the one that was undone, and three more"
    history.feed("c-1", "conflict_decision", AT, decision("x-2", "use_external"))
    assert people_first(history) == 3


def test_a_conflict_that_was_reported_anew_is_not_overridden_by_its_decision() -> None:
    history = History()
    automatic(history, "x-1")
    history.feed("c-1", "conflict", AT, conflict("x-1", values={"crewflow": 8.0, "external": 3.0}))
    history.feed("c-1", "conflict_decision", AT, decision("x-1", "use_external"))
    assert people_first(history) == people_first(history, values={"crewflow": 8.0, "external": 3.0}) == 0
