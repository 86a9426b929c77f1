"""What goes into the outbox, in which order it comes out, and who may finish it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, NotFoundError, NotReadyError
from crewflow_assets.outbox import queue
from crewflow_assets.outbox.webhook import envelope
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, OutboxCommand
from tests.outbox.conftest import Put, stored


def claimed_keys() -> list[str]:
    keys = []
    while (row := queue.claim(clock.now())) is not None:
        keys.append(row.idempotency_key)
    return keys


def test_a_command_leaves_with_its_transaction_or_not_at_all(store: Engine, put: Put) -> None:
    put("first")

    def decide_and_fail() -> None:
        with transaction() as session:
            queue.enqueue(session, company_id="c-1", record_key="r", command="x", payload={}, idempotency_key="lost")
            raise RuntimeError("the decision failed")

    with pytest.raises(RuntimeError, match="the decision failed"):
        decide_and_fail()
    assert queue.waiting() == 1
    assert claimed_keys() == ["first"]


def test_the_same_command_twice_is_one_row(store: Engine, put: Put) -> None:
    first, again = put("k"), put("k")
    assert first.id == again.id
    assert queue.waiting() == 1


def test_a_key_is_not_shared_by_two_effects(store: Engine, put: Put) -> None:
    put("k")
    with pytest.raises(ConflictError, match=r"'k' belongs to the command 'mapping.set' for 'r-1'"):
        put("k", record="r-2")


def test_unknown_companies_and_unsafe_keys_are_refused(sqlite_store: Engine) -> None:
    def enqueue(key: str) -> None:
        with transaction() as session:
            queue.enqueue(session, company_id="nobody", record_key="r", command="x", payload={}, idempotency_key=key)

    with pytest.raises(NotFoundError, match="no company 'nobody'"):
        enqueue("k")
    for unsafe in ("", "a.b", "a b", "a\r\nx: y", "ü", "k" * 201):
        with pytest.raises(ValueError, match="command_key"):
            enqueue(unsafe)


def test_command_keys_are_safe_stable_and_distinct() -> None:
    key = queue.command_key("03.100 Müller\n", "mapping.set")
    assert key == queue.command_key("03.100 Müller\n", "mapping.set")
    assert key.startswith("cmd_")
    assert key.isascii()
    assert len({queue.command_key("a", "bc"), queue.command_key("ab", "c"), key}) == 3


def test_commands_of_one_record_come_one_after_the_other(store: Engine, put: Put) -> None:
    for key, record in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        put(key, record)
    assert claimed_keys() == ["a1", "b1"]
    assert queue.mark_delivered(stored("a1"))
    assert claimed_keys() == ["a2"]


def test_records_of_two_companies_with_one_name_do_not_wait_for_each_other(store: Engine, put: Put) -> None:
    put("mine")
    with transaction() as session:
        session.add(Company(id="c-2", name="B", industry="hvac", created_at=clock.now(), revision=0))
        session.flush()
        queue.enqueue(session, company_id="c-2", record_key="r-1", command="x", payload={}, idempotency_key="theirs")
    assert claimed_keys() == ["mine", "theirs"]


def test_commands_of_the_platform_wait_for_each_other_and_for_no_company(store: Engine, put: Put) -> None:
    def put_of_platform(key: str, record: str) -> None:
        with transaction() as session:
            queue.enqueue(
                session,
                company_id=None,
                record_key=record,
                command="model_alert.opened",
                payload={"model": "toy"},
                idempotency_key=key,
            )

    put("of-company")
    for key, record in (("first", "r-1"), ("second", "r-1"), ("other", "r-2")):
        put_of_platform(key, record)
    assert claimed_keys() == ["of-company", "first", "other"]
    assert queue.mark_delivered(stored("first"))
    second = queue.claim(clock.now())
    assert second is not None
    assert (second.idempotency_key, envelope(second)["company_id"]) == ("second", None)
    with pytest.raises(ValueError, match="belongs to no company"):
        _ = second.company
    with pytest.raises(ConflictError, match="of 'the platform'"):
        put_of_platform("first", "r-3")


def test_a_claim_ends_with_its_lease(store: Engine, put: Put) -> None:
    put("k")
    start = clock.now()
    with clock.fixed(start):
        first = queue.claim(clock.now())
        assert first is not None
        assert queue.claim(clock.now()) is None
    with clock.fixed(start + queue.LEASE - timedelta(seconds=1)):
        assert queue.claim(clock.now()) is None
    with clock.fixed(start + queue.LEASE):
        second = queue.claim(clock.now())
        assert second is not None
        assert second.attempts == 2


def test_a_worker_that_lost_its_claim_writes_nothing(store: Engine, put: Put) -> None:
    put("k")
    start = clock.now()
    slow = queue.claim(start)
    assert slow is not None
    with clock.fixed(start + 2 * queue.LEASE):
        fast = queue.claim(clock.now())
    assert fast is not None
    called: list[str] = []
    assert not queue.mark_refused(slow, "too late", lambda _session, _row, reason: called.append(reason))
    assert not queue.postpone(slow, "too late", timedelta(0))
    assert not queue.mark_delivered(slow)
    assert called == []
    assert queue.mark_delivered(fast)
    assert stored("k").state == queue.CommandState.DELIVERED


def test_commands_of_one_record_are_numbered_as_their_transactions_commit(store: Engine, put: Put) -> None:
    put("zero", record="other")
    inside, other_tried = threading.Event(), threading.Event()

    def enqueue(session: Session, key: str) -> None:
        queue.enqueue(session, company_id="c-1", record_key="r", command="x", payload={}, idempotency_key=key)

    def first() -> None:
        with transaction() as session:
            enqueue(session, "first")
            inside.set()
            other_tried.wait(10)
            time.sleep(0.2)

    def second() -> None:
        inside.wait(10)
        other_tried.set()
        with transaction() as session:
            enqueue(session, "second")
            with reading() as reader:
                seen = reader.scalars(select(OutboxCommand.idempotency_key)).all()
            assert "first" in seen

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert stored("first").id < stored("second").id


def test_claiming_workers_never_get_the_same_command(store: Engine, put: Put) -> None:
    expected = [f"k-{number}" for number in range(30)]
    for key in expected:
        put(key, record=key)
    with ThreadPoolExecutor(6) as pool:
        claimed = [key for keys in pool.map(lambda _: claimed_keys(), range(6)) for key in keys]
    assert sorted(claimed) == sorted(expected)


def test_an_operator_can_end_a_command_and_its_decision_reopens(store: Engine, put: Put) -> None:
    put("k")
    reopened: list[tuple[str, str]] = []
    handlers = {"mapping.set": lambda _s, row, reason: reopened.append((row.idempotency_key, reason))}
    with transaction() as session:
        queue.give_up(session, "k", "integration removed", handlers)
    assert reopened == [("k", "integration removed")]
    assert stored("k").state == queue.CommandState.REFUSED
    assert stored("k").finished_at is not None
    with pytest.raises(ConflictError, match="is refused already"), transaction() as session:
        queue.give_up(session, "k", "again", handlers)
    with pytest.raises(NotFoundError, match="'unknown'"), transaction() as session:
        queue.give_up(session, "unknown", "x", handlers)
    put("k2")
    with pytest.raises(NotReadyError, match="no refusal handler"), transaction() as session:
        queue.give_up(session, "k2", "x", {})


def test_backoff_doubles_up_to_an_hour_with_full_jitter() -> None:
    longest = [queue.backoff(attempts, lambda: 1.0).total_seconds() for attempts in (1, 2, 3, 10, 11, 10_000)]
    assert longest == [5, 10, 20, 2560, 3600, 3600]
    assert queue.backoff(4, lambda: 0.5) == timedelta(seconds=20)
    assert queue.backoff(4, lambda: 0.0) == queue.SHORTEST_BACKOFF
    assert len({queue.backoff(5) for _ in range(20)}) > 1


def test_many_commands_at_once_keep_their_order_and_come_once(store: Engine, put: Put) -> None:
    put("k0")
    new = [
        queue.NewCommand(
            company_id="c-1", record_key="r-1", command="x", payload={"n": n}, idempotency_key=f"k{1 + n % 1500}"
        )
        for n in [*range(1500), 0]
    ]
    for _ in range(2):
        with transaction() as session:
            queue.enqueue_many(session, new)
        with reading() as session:
            rows = session.scalars(select(OutboxCommand).order_by(OutboxCommand.id)).all()
        assert [row.idempotency_key for row in rows] == [f"k{n}" for n in range(1501)]
        assert [row.payload["n"] for row in rows[1:]] == list(range(1500))


def test_of_many_commands_one_wrong_keeps_all_out(store: Engine, put: Put) -> None:
    put("k")
    good = queue.NewCommand(company_id="c-1", record_key="r", command="x", payload={}, idempotency_key="good")

    def enqueue(wrong: queue.NewCommand) -> None:
        with transaction() as session:
            queue.enqueue_many(session, [good, wrong])

    with pytest.raises(NotFoundError, match="'c-9'"):
        enqueue(replace(good, company_id="c-9", idempotency_key="other"))
    with pytest.raises(ConflictError, match="'good' belongs to"):
        enqueue(replace(good, record_key="r-2"))
    assert queue.waiting() == 1
