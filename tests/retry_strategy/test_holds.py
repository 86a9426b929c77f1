"""Calls that wait for a person are made once more when the mending shows in the events, and not before."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from crewflow_assets import clock
from crewflow_assets.handlers import EVENT_HANDLERS, REFUSAL_HANDLERS
from crewflow_assets.outbox.queue import give_up
from crewflow_assets.retry_strategy.answering import answer
from crewflow_assets.retry_strategy.delays import RELEASE_SPREAD, SHORTEST
from crewflow_assets.retry_strategy.holds import LONGEST
from crewflow_assets.retry_strategy.recent import _recent
from crewflow_assets.retry_strategy.rules import CAPACITY, NEVER, RELEASED_ON
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.retry_tables import RetryBudget, RetryHold
from crewflow_assets.store.tables import AuditEntry, OutboxCommand
from tests.retry_strategy.asking import MINUTE, NOON, add_companies, attempt, event, post, request
from tests.retry_strategy.test_model import fitted

REVOKED: dict[str, Any] = {"status_code": 401, "error_message": "invalid_grant", "call_id": "call-1"}
REJECTED: dict[str, Any] = {
    "status_code": 400,
    "error_message": "hours must be positive",
    "call_id": "call-1",
    "write": True,
}
NAMED: dict[str, Any] = REJECTED | {"record_id": "t-1"}


@pytest.fixture
def asked(sqlite_store: Engine) -> Iterator[Engine]:
    yield from _ready(sqlite_store)


@pytest.fixture
def asked_of_both(store: Engine) -> Iterator[Engine]:
    yield from _ready(store)


def _ready(store: Engine) -> Iterator[Engine]:
    get_settings.cache_clear()
    _recent.cache_clear()
    add_companies()
    yield store
    _recent.cache_clear()


def ask(*, at: datetime = NOON, **fields: Any) -> dict[str, Any]:
    with clock.fixed(at):
        [one] = answer(fitted(), [request(**fields)])
    return dict(one.fields)


def synced(number: int, at: datetime, *, company: str = "c-1", **payload: Any) -> None:
    post(attempt(number, company, at, **payload), at=at + MINUTE, handlers=EVENT_HANDLERS)


def edited(number: int, at: datetime, **payload: Any) -> None:
    usual = {"record_type": "timecard", "record_id": "t-1", "side": "crewflow", "version": str(number), "values": {}}
    changed = event("record_version", number, "c-1", at).model_copy(update={"payload": usual | payload})
    post(changed, at=at + MINUTE, handlers=EVENT_HANDLERS)


def told() -> list[OutboxCommand]:
    with reading() as session:
        return list(session.scalars(select(OutboxCommand).order_by(OutboxCommand.id)))


def test_what_is_released_is_what_people_mend() -> None:
    assert set(RELEASED_ON) == {name for name, (alternative, _) in NEVER.items() if alternative == "queue_for_manual"}


def test_a_revoked_grant_is_resent_after_the_next_good_sync(asked: Engine) -> None:
    said = ask(**REVOKED)
    assert (said["alternative"], said["release_on"]) == ("queue_for_manual", "reauthorised")
    assert "retry.release" in said["reason"]
    synced(1, NOON + MINUTE, ok=False, status_code=401)
    synced(2, NOON + 2 * MINUTE, company="c-2")
    assert told() == []
    synced(3, NOON + 3 * MINUTE)
    [command] = told()
    assert (command.command, command.record_key) == ("retry.release", "call/i-3/call-1")
    assert command.payload["release_on"] == "reauthorised"
    assert SHORTEST <= command.payload["delay_seconds"] <= RELEASE_SPREAD
    with reading() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "retry.release")).one()
        assert entry.after == command.payload
        assert session.scalars(select(RetryBudget.tokens)).one() == CAPACITY - 1


def test_a_sync_from_before_the_failure_proves_nothing(asked: Engine) -> None:
    ask(**REVOKED)
    synced(1, NOON - MINUTE)
    assert told() == []


@pytest.mark.parametrize("record_id", [None, "t-1"])
def test_a_sync_releases_a_call_once(asked: Engine, record_id: str | None) -> None:
    revoked = REVOKED | {"record_id": record_id}
    ask(**revoked)
    synced(1, NOON + MINUTE)
    again = ask(at=NOON + 3 * MINUTE, **revoked)
    assert (again["alternative"], again["release_on"]) == ("queue_for_manual", None)
    assert "retry.release" not in again["reason"]
    synced(2, NOON + 5 * MINUTE)
    assert len(told()) == 1


def test_an_edit_of_the_record_releases_it_each_time(asked_of_both: Engine) -> None:
    assert ask(**NAMED)["release_on"] == "record_edited"
    synced(1, NOON + MINUTE)
    edited(2, NOON + MINUTE, record_id="t-2")
    edited(3, NOON + MINUTE, record_type="project")
    assert told() == []
    edited(4, NOON + 2 * MINUTE)
    assert ask(at=NOON + 5 * MINUTE, **NAMED)["release_on"] == "record_edited"
    edited(5, NOON + 7 * MINUTE)
    assert [one.payload["record_id"] for one in told()] == ["t-1", "t-1"]


def test_asking_again_loses_no_edit_whose_event_is_late(asked_of_both: Engine) -> None:
    ask(**NAMED)
    ask(at=NOON + 2 * MINUTE, **NAMED)
    edited(1, NOON + MINUTE)
    assert [one.payload["failed_at"] for one in told()] == [NOON.isoformat()]
    ask(at=NOON + 4 * MINUTE, **NAMED)
    edited(2, NOON + 3 * MINUTE)
    assert len(told()) == 1


@pytest.mark.parametrize("side", ["crewflow", "external"])
def test_our_own_write_is_no_mending(asked: Engine, side: str) -> None:
    ask(**NAMED)
    edited(1, NOON + MINUTE, side=side, command_id="cmd_1")
    assert told() == []
    edited(2, NOON + 2 * MINUTE, side=side)
    assert len(told()) == 1


def test_without_a_named_record_a_sync_that_says_it_refused_none_shows_it(asked: Engine) -> None:
    assert ask(**REJECTED)["release_on"] == "record_edited"
    synced(1, NOON + MINUTE, records_failed=2)
    synced(2, NOON + 2 * MINUTE)  # which does not tell
    assert told() == []
    synced(3, NOON + 3 * MINUTE, records_failed=0)
    assert len(told()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"call_id": None},
        {"integration_id": None},
        {"company_id": "unheard-of"},
        {"status_code": 409, "error_message": "Stale Object Error", "error_code": "5010"},
        {"seconds_since_first_failure": 7200.0, "deadline_hours": 1.0},
    ],
)
def test_what_is_not_named_or_not_a_persons_or_too_late_is_not_watched(asked: Engine, fields: dict[str, Any]) -> None:
    said = ask(**(REVOKED | fields))
    assert not said["should_retry"]
    assert said["release_on"] is None
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(RetryHold)) == 0


def test_nobody_waits_for_ever(asked: Engine) -> None:
    ask(**REVOKED)
    ask(**(REVOKED | {"call_id": "call-2", "deadline_hours": 1.0}))
    synced(1, NOON + timedelta(hours=2))
    assert [one.payload["call_id"] for one in told()] == ["call-1"]
    ask(**(REVOKED | {"call_id": "call-3"}), at=NOON + LONGEST + timedelta(days=1))
    with reading() as session:
        assert session.scalars(select(RetryHold.call_id)).all() == ["call-3"]


def test_a_mending_releases_no_more_than_the_budget_has(asked_of_both: Engine) -> None:
    for number in range(3):
        ask(**(REVOKED | {"call_id": f"call-{number}"}), at=NOON + number * MINUTE)
    synced(1, NOON + 3 * MINUTE)
    assert len(told()) == 3
    for number in range(3, 6):
        ask(**(REVOKED | {"call_id": f"call-{number}"}), at=NOON + number * MINUTE)
    with transaction() as session:
        session.execute(update(RetryBudget).values(tokens=1.0, counted_at=NOON + 7 * MINUTE))
    synced(2, NOON + 6 * MINUTE)
    assert [one.payload["call_id"] for one in told()[3:]] == ["call-3"]
    synced(3, NOON + 20 * MINUTE)
    assert {one.payload["call_id"] for one in told()} == {f"call-{number}" for number in range(6)}


def test_what_the_receiver_refuses_is_not_released_again(asked: Engine) -> None:
    ask(**NAMED)
    edited(1, NOON + MINUTE)
    with clock.fixed(NOON + 3 * MINUTE), transaction() as session:
        give_up(session, told()[0].idempotency_key, "no such call", REFUSAL_HANDLERS)
    assert ask(at=NOON + 4 * MINUTE, **NAMED)["release_on"] is None
    edited(2, NOON + 5 * MINUTE)
    assert len(told()) == 1
    with reading() as session:
        released, refusal = session.scalars(select(AuditEntry).where(AuditEntry.subject_id == "call-1"))
    assert (released.action, released.before) == ("retry.release", {"state": "waiting"})
    assert (refusal.action, refusal.before) == ("retry.refused", {"state": "released"})
    assert refusal.after == {"state": "refused", "reason": "no such call"}


def test_a_late_refusal_leaves_what_waits_since(asked: Engine) -> None:
    ask(**NAMED)
    edited(1, NOON + MINUTE)
    assert ask(at=NOON + 3 * MINUTE, **NAMED)["release_on"] == "record_edited"
    with clock.fixed(NOON + 4 * MINUTE), transaction() as session:
        give_up(session, told()[0].idempotency_key, "was made by hand", REFUSAL_HANDLERS)
    with reading() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "retry.refused")).one()
        assert entry.before == {"state": "waiting"}
        assert entry.after == {"state": "waiting", "reason": "was made by hand"}
    edited(2, NOON + 5 * MINUTE)
    assert len(told()) == 2


def test_a_batch_takes_up_a_call_once(asked: Engine) -> None:
    with clock.fixed(NOON):
        found = answer(fitted(), [request(**REVOKED), request(**REVOKED), request()])
    assert [one.fields["release_on"] for one in found] == ["reauthorised", "reauthorised", None]
    synced(1, NOON + MINUTE)
    assert len(told()) == 1


def test_what_waits_no_more_can_wait_anew(asked_of_both: Engine) -> None:
    ask(**REVOKED)
    synced(1, NOON + MINUTE)
    later = NOON + LONGEST + timedelta(days=1)
    assert ask(at=later, **REVOKED)["release_on"] == "reauthorised"
    synced(2, later + MINUTE)
    assert len(told()) == 2
