"""``crewflow deliver`` as an operator uses it."""

import signal
import sys
import threading
from types import SimpleNamespace

import pytest
import typer
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from crewflow_assets.errors import NotReadyError
from crewflow_assets.outbox import queue
from crewflow_assets.settings import get_settings
from pipelines.cli.deliver import deliver
from tests.outbox.conftest import Put, stored
from tests.outbox.receiver import SECRET, Receiver, Reply, problem, worker

app = typer.Typer()
app.command()(deliver)

REOPENED: list[str] = []
ACTIONS = SimpleNamespace(
    REFUSAL_HANDLERS={"mapping.set": lambda _session, command, _reason: REOPENED.append(command.record_key)}
)


@pytest.fixture(autouse=True)
def actions(monkeypatch: pytest.MonkeyPatch) -> None:
    REOPENED.clear()
    monkeypatch.setitem(sys.modules, "crewflow_assets.handlers", ACTIONS)


@pytest.fixture
def configured(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    monkeypatch.setenv("CREWFLOW_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("CREWFLOW_WEBHOOK_SECRET", SECRET)
    get_settings.cache_clear()
    return receiver


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_without_a_url_it_says_what_waits_and_what_to_set(sqlite_store: Engine, put: Put) -> None:
    put("k1")
    put("k2")
    result = run()
    assert result.exit_code == 0
    assert result.output == "2 commands wait: set CREWFLOW_WEBHOOK_URL to where they should go\n"


def test_without_a_secret_nothing_is_sent(
    sqlite_store: Engine, put: Put, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWFLOW_WEBHOOK_URL", receiver.url)
    get_settings.cache_clear()
    put("k")
    result = run()
    assert isinstance(result.exception, NotReadyError)
    assert "CREWFLOW_WEBHOOK_SECRET is not set" in str(result.exception)
    assert receiver.raw == []


def test_once_sends_all_that_is_due(sqlite_store: Engine, put: Put, configured: Receiver) -> None:
    assert run().output == "nothing is due; 0 waiting\n"
    for number in range(120):
        put(f"k{number}", record=f"r{number}")
    result = run("--once")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "delivered 100, refused 0, to be retried 0; 20 waiting",
        "delivered 20, refused 0, to be retried 0; 0 waiting",
    ]
    assert len(configured.ids) == 120


def test_refusals_reach_the_handlers_of_the_models(sqlite_store: Engine, put: Put, configured: Receiver) -> None:
    put("k")
    configured.decide = lambda _command: problem(409, "closed")
    assert run().output == "delivered 0, refused 1, to be retried 0; 0 waiting\n"
    assert REOPENED == ["r-1"]


def test_problems_are_shown(sqlite_store: Engine, put: Put, configured: Receiver) -> None:
    put("k")
    configured.decide = lambda _command: Reply(404)
    result = run()
    assert result.exit_code == 0
    assert "problem: the receiver answers HTTP 404 Not Found" in result.stderr


def test_giving_up_reopens_the_decision(sqlite_store: Engine, put: Put) -> None:
    put("k")
    result = run("--give-up", "k", "--reason", "integration removed")
    assert result.output == "k (mapping.set for r-1) is ended: integration removed\n"
    assert REOPENED == ["r-1"]
    assert stored("k").last_error == "integration removed"


WATCH = """
import sys, types, typer
module = types.ModuleType("actions")
module.REFUSAL_HANDLERS = {}
sys.modules["crewflow_assets.handlers"] = module
from pipelines.cli.deliver import deliver
typer.run(deliver)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watching_worker_finishes_the_command_in_flight(
    sqlite_store: Engine, put: Put, configured: Receiver, number: signal.Signals
) -> None:
    put("k1")
    put("k2")
    in_flight = threading.Event()

    def slowly(_command: object) -> Reply:
        in_flight.set()
        return Reply(seconds=0.5)

    configured.decide = slowly
    with worker(WATCH, "--watch", "--poll", "60") as process:
        assert in_flight.wait(30)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "delivered 1, refused 0, to be retried 0; 1 waiting" in output
    assert stored("k1").state == queue.CommandState.DELIVERED
    assert configured.ids == ["k1"]


def test_a_watching_worker_without_a_url_waits_until_it_is_stopped(sqlite_store: Engine) -> None:
    with worker(WATCH, "--watch", "--poll", "60") as process:
        assert process.stdout is not None
        assert "0 commands wait" in process.stdout.readline()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
