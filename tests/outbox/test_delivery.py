"""Whole rounds of delivery against a real receiver."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.outbox import queue
from crewflow_assets.outbox.delivery import FAILURES_IN_A_ROW, DeliveryReport, deliver_due
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import AuditEntry, OutboxCommand
from tests.outbox.conftest import Put, stored
from tests.outbox.receiver import SECRET, Receiver, Reply, problem, worker


def reopen(session: Session, command: OutboxCommand, reason: str) -> None:
    session.add(
        AuditEntry(
            at=clock.now(),
            company_id=command.company_id,
            actor="receiver",
            action="reopened",
            subject_type="mapping",
            subject_id=command.record_key,
            before=None,
            after={"reason": reason},
        )
    )


def reopened() -> list[dict[str, Any] | None]:
    with reading() as session:
        return list(session.scalars(select(AuditEntry.after)))


HANDLERS = {"mapping.set": reopen}


def deliver(receiver: Receiver, limit: int = 100) -> DeliveryReport:
    with receiver.client() as client:
        return deliver_due(client, on_refused=HANDLERS, limit=limit)


def test_due_commands_are_delivered(store: Engine, put: Put, receiver: Receiver) -> None:
    for key in ("a1", "a2", "a3"):
        put(key)
    assert deliver(receiver) == DeliveryReport(delivered=3)
    assert receiver.ids == ["a1", "a2", "a3"]
    assert stored("a3").finished_at is not None
    assert deliver(receiver) == DeliveryReport()


def test_the_limit_and_a_stop_end_a_round(sqlite_store: Engine, put: Put, receiver: Receiver) -> None:
    for key in ("a", "b", "c"):
        put(key, record=key)
    assert deliver(receiver, limit=2) == DeliveryReport(delivered=2, waiting=1)
    with receiver.client() as client:
        assert deliver_due(client, on_refused={}, stop=lambda: True) == DeliveryReport(waiting=1)


def test_a_failing_command_holds_back_its_record_alone(store: Engine, put: Put, receiver: Receiver) -> None:
    for key, record in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")):
        put(key, record)
    failing = True
    receiver.decide = lambda command: Reply(503 if failing and command["id"] == "a1" else 200)
    start = clock.now()
    with clock.fixed(start):
        assert deliver(receiver) == DeliveryReport(delivered=2, retried=1, waiting=2)
    assert receiver.ids == ["a1", "b1", "b2"]
    assert stored("a1").last_error == "HTTP 503 Service Unavailable"
    failing = False
    with clock.fixed(start + queue.FIRST_BACKOFF):
        assert deliver(receiver) == DeliveryReport(delivered=2)
    assert receiver.ids == ["a1", "b1", "b2", "a1", "a2"]


def test_pauses_grow_while_the_receiver_fails(
    store: Engine, put: Put, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue.backoff, "__defaults__", (lambda: 1.0,))
    put("k")
    receiver.decide = lambda _command: Reply(500)
    moment = clock.now()
    pauses = []
    for _ in range(5):
        with clock.fixed(moment):
            assert deliver(receiver).retried == 1
            assert deliver(receiver).retried == 0
        due = stored("k").next_attempt_at
        pauses.append((due - moment).total_seconds())
        moment = due
    assert pauses == [5, 10, 20, 40, 80]
    assert stored("k").attempts == 5


def test_retry_after_is_obeyed_and_ends_the_round(store: Engine, put: Put, receiver: Receiver) -> None:
    put("a", record="a")
    put("b", record="b")
    receiver.decide = lambda _command: Reply(429, headers={"retry-after": "200"})
    start = clock.now()
    with clock.fixed(start):
        report = deliver(receiver)
    assert report == DeliveryReport(retried=1, waiting=2, pause=timedelta(seconds=200))
    assert stored("a").next_attempt_at == start + timedelta(seconds=200)
    assert stored("b").attempts == 0


def test_a_receiver_that_is_down_is_not_hammered(sqlite_store: Engine, put: Put, receiver: Receiver) -> None:
    for number in range(10):
        put(f"k{number}", record=f"r{number}")
    receiver.decide = lambda _command: Reply(502)
    assert deliver(receiver).retried == FAILURES_IN_A_ROW == len(receiver.ids)


def test_trouble_with_the_settings_is_reported(sqlite_store: Engine, put: Put, receiver: Receiver) -> None:
    put("k")
    receiver.decide = lambda _command: Reply(404)
    report = deliver(receiver)
    assert (report.retried, report.waiting) == (1, 1)
    assert "HTTP 404 Not Found; check CREWFLOW_WEBHOOK_URL" in report.problems[0]


def test_a_refusal_reopens_the_decision(store: Engine, put: Put, receiver: Receiver) -> None:
    put("a1")
    put("a2")
    receiver.decide = lambda command: problem(409, "period closed") if command["id"] == "a1" else Reply()
    assert deliver(receiver) == DeliveryReport(delivered=1, refused=1)
    assert stored("a1").state == queue.CommandState.REFUSED
    assert stored("a1").last_error == "HTTP 409 Conflict: period closed"
    assert reopened() == [{"reason": "HTTP 409 Conflict: period closed"}]


def test_a_refusal_and_its_reopening_are_one(
    store: Engine, put: Put, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    put("k")
    receiver.decide = lambda _command: problem(422, "no such account")

    def break_halfway(session: Session, command: OutboxCommand, reason: str) -> None:
        reopen(session, command, reason)
        session.flush()
        raise LookupError("bug")

    start = clock.now()
    with clock.fixed(start), receiver.client() as client, caplog.at_level(logging.ERROR):
        report = deliver_due(client, on_refused={"mapping.set": break_halfway})
    assert (report.refused, report.retried, report.waiting) == (0, 1, 1)
    assert "re-opening what it decided failed with LookupError" in report.problems[0]
    assert stored("k").state == queue.CommandState.PENDING
    assert reopened() == []
    assert "LookupError: bug" in caplog.text
    with clock.fixed(start + queue.FIRST_BACKOFF):
        assert deliver(receiver).refused == 1
    assert len(reopened()) == 1


def test_a_refusal_without_a_handler_is_not_swallowed(sqlite_store: Engine, put: Put, receiver: Receiver) -> None:
    put("k", command="integration.pause")
    receiver.decide = lambda _command: Reply(409)
    report = deliver(receiver)
    assert (report.refused, report.waiting) == (0, 1)
    assert "no refusal handler is registered for commands 'integration.pause'" in report.problems[0]


def test_two_workers_never_send_a_command_at_once(store: Engine, put: Put, receiver: Receiver) -> None:
    keys = [f"k-{number}" for number in range(24)]
    for number, key in enumerate(keys):
        put(key, record=f"r-{number % 8}")
    receiver.decide = lambda _command: Reply(seconds=0.01)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: deliver(receiver), range(4)))
    assert deliver(receiver).waiting == 0
    assert sorted(receiver.ids) == sorted(keys)
    assert receiver.overlaps == 0
    assert sum(report.delivered for report in reports) <= len(keys)
    for record in range(8):
        sent = [key for key in receiver.ids if int(key[2:]) % 8 == record]
        assert sent == sorted(sent, key=lambda key: int(key[2:]))


WORKER = """
import sys
import time
from crewflow_assets.outbox import delivery
from crewflow_assets.outbox.webhook import WebhookClient

class Stalling(WebhookClient):
    def send(self, command):
        answer = super().send(command)
        print("sent")
        time.sleep(120)
        return answer

with Stalling(sys.argv[1], sys.argv[2]) as client:
    delivery.deliver_due(client, on_refused={})
"""


def test_a_worker_killed_before_it_marks_has_its_effect_once(store: Engine, put: Put, receiver: Receiver) -> None:
    put("k1")
    put("k2")
    with worker(WORKER, receiver.url, SECRET) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        process.kill()
    claimed = stored("k1")
    assert (claimed.state, claimed.attempts) == (queue.CommandState.PENDING, 1)
    assert deliver(receiver) == DeliveryReport(waiting=2)
    with clock.fixed(claimed.next_attempt_at):
        assert deliver(receiver) == DeliveryReport(delivered=2)
    assert receiver.ids == ["k1", "k1", "k2"]
    assert receiver.raw[0][1] == receiver.raw[1][1]
    assert list(receiver.effects) == ["k1", "k2"]


def test_what_came_of_a_command_counts_once_when_the_worker_was_too_slow(
    store: Engine, put: Put, receiver: Receiver
) -> None:
    put("k")
    start = clock.now()
    slow = queue.claim(start)
    assert slow is not None
    time.sleep(0.01)
    with clock.fixed(start + queue.LEASE + timedelta(seconds=1)):
        assert deliver(receiver) == DeliveryReport(delivered=1)
    assert not queue.mark_refused(slow, "HTTP 409", reopen)
    assert reopened() == []
