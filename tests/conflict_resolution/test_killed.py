"""A process that is killed for real between decision and delivery: nothing is lost, one effect at the receiver."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select

from crewflow_assets import clock
from crewflow_assets.handlers import REFUSAL_HANDLERS
from crewflow_assets.outbox.delivery import deliver_due
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import OutboxCommand
from tests.conflict_resolution.deciding import audit, automatic, commands, conflict, report, resolutions
from tests.outbox.receiver import SECRET, Receiver, Reply, problem, running, worker

DECIDE = """
import sys, time
from crewflow_assets.conflict_resolution import actions
from crewflow_assets.conflict_resolution.ledger import ConflictLedger
from crewflow_assets.conflict_resolution.standing import inputs_of
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.conflict_tables import Conflict

def stall(place):
    if sys.argv[3] == place:
        print(place)
        time.sleep(120)

close = ConflictLedger.close
def stalling(self):
    stall("before its rows")
    close(self)
    stall("before the commit")
ConflictLedger.close = stalling

with reading() as session:
    [found] = session.query(Conflict).all()
    inputs = inputs_of(found)
with transaction() as session:
    proposed = actions.Proposal(inputs, "use_crewflow", 0.97, True, "sure", "1.3")
    actions.decide_automatically(session, company_id="c-1", conflict_id="x-1", proposal=proposed)
stall("after the commit")

from crewflow_assets.handlers import REFUSAL_HANDLERS
from crewflow_assets.outbox import delivery
from crewflow_assets.outbox.webhook import WebhookClient

class Stalling(WebhookClient):
    def send(self, command):
        stall("before sending")
        answer = super().send(command)
        stall("after sending")
        return answer

with Stalling(sys.argv[1], sys.argv[2]) as client:
    delivery.deliver_due(client, on_refused=REFUSAL_HANDLERS)
"""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running() as found:
        yield found


def deliver_in_time(receiver: Receiver) -> None:
    """Deliver what waits, when a lease that a dead process held is over."""
    with reading() as session:
        due = session.scalar(select(OutboxCommand.next_attempt_at).order_by(OutboxCommand.next_attempt_at.desc()))
    with receiver.client() as client, clock.fixed(due or clock.now()):
        deliver_due(client, on_refused=REFUSAL_HANDLERS)


@pytest.mark.parametrize(
    "place", ["before its rows", "before the commit", "after the commit", "before sending", "after sending"]
)
def test_killed_anywhere_nothing_is_lost_and_it_takes_effect_once(
    deciding: Engine, receiver: Receiver, place: str
) -> None:
    report()
    with worker(DECIDE, receiver.url, SECRET, place) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{place}\n"
        process.kill()
        process.wait()
    decided = place not in ("before its rows", "before the commit")
    assert (conflict().state, len(resolutions()), len(commands())) == (
        ("resolved", 1, 1) if decided else ("open", 0, 0)
    )
    assert [row.action for row in audit()] == ["conflict.open", "conflict.resolve"][: 1 + decided]
    if not decided:
        assert automatic()[1] is None
    deliver_in_time(receiver)
    [command] = commands()
    assert command.state == "delivered"
    assert list(receiver.effects) == [command.idempotency_key]
    assert receiver.effects[command.idempotency_key]["payload"]["value"] == 8.0
    assert len(receiver.commands) == (2 if place == "after sending" else 1)


def test_a_refusal_at_the_receiver_reopens_the_conflict(deciding: Engine, receiver: Receiver) -> None:
    report()
    automatic()
    receiver.decide = lambda command: problem(409, "closed") if command["command"] == "conflict.set" else Reply()
    deliver_in_time(receiver)
    assert (conflict().state, resolutions()[0].state) == ("reopened", "refused")
    assert "closed" in str(conflict().reopened_reason)
