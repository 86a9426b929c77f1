"""The request as a receiver sees it, and what its answers mean."""

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import httpx
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError
from crewflow_assets.outbox.webhook import Verdict, WebhookClient
from crewflow_assets.settings import get_settings
from crewflow_assets.store.tables import OutboxCommand
from tests.outbox.receiver import SECRET, Receiver, Reply, problem

COMMAND = OutboxCommand(
    id=1,
    idempotency_key="cmd_1",
    company_id="c-1",
    record_key="cost_code/03.100",
    command="mapping.set",
    payload={"target_code": "50100", "note": "Müller – ½"},
    state="pending",
    attempts=1,
    created_at=datetime(2026, 3, 2, 14, 0, 0, 123456, tzinfo=UTC),
)


def test_the_request_is_what_the_contract_says(receiver: Receiver) -> None:
    with receiver.client() as client:
        assert client.send(COMMAND).verdict is Verdict.DELIVERED
    [(headers, body)] = receiver.raw
    assert json.loads(body) == {
        "id": "cmd_1",
        "command": "mapping.set",
        "company_id": "c-1",
        "record": "cost_code/03.100",
        "payload": {"target_code": "50100", "note": "Müller – ½"},
        "created_at": "2026-03-02T14:00:00.123456Z",
    }
    assert headers["webhook-id"] == "cmd_1"
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - clock.now().timestamp()) < 60


def test_a_wrong_secret_is_trouble_and_no_refusal(receiver: Receiver) -> None:
    with receiver.client("whsec_" + "b3RoZXJz" * 6) as client:
        answer = client.send(COMMAND)
    assert answer.verdict is Verdict.MISCONFIGURED
    assert answer.reason == "HTTP 401 Unauthorized: No matching signature found"
    assert receiver.commands == []


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, Verdict.DELIVERED) for status in (200, 201, 202, 204)),
        *((status, Verdict.REFUSED) for status in (400, 409, 410, 422)),
        *((status, Verdict.LATER) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((status, Verdict.MISCONFIGURED) for status in (302, 307, 401, 404, 405, 413)),
    ],
)
def test_each_status_has_one_meaning(receiver: Receiver, status: int, verdict: Verdict) -> None:
    receiver.decide = lambda _command: Reply(status, headers={"location": receiver.url + "/elsewhere"})
    with receiver.client() as client:
        assert client.send(COMMAND).verdict is verdict
    assert len(receiver.commands) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (problem(409, "the payroll period 2026-W09 is closed"), "the payroll period 2026-W09 is closed"),
        (Reply(409, b"plain\r\ntext\x00 \xff"), "plain text �"),
        (Reply(409, b'{"detail": "\\ud800 half a character"}'), "half a character"),
        (Reply(409, b"[" * 100_000), "[[["),
        (Reply(409, b'"text"'), '"text"'),
    ],
)
def test_reasons_are_one_printable_line(receiver: Receiver, reply: Reply, reason: str) -> None:
    receiver.decide = lambda _command: reply
    with receiver.client() as client:
        answer = client.send(COMMAND)
    assert answer.reason.startswith(f"HTTP 409 Conflict: {reason}")
    assert answer.reason.isprintable()
    assert len(answer.reason) <= 500


def test_retry_after_is_read_as_seconds_or_date(receiver: Receiver) -> None:
    moment = clock.now().replace(microsecond=0)
    expected = {
        "120": timedelta(seconds=120),
        "0": timedelta(0),
        format_datetime(moment + timedelta(seconds=90), usegmt=True): timedelta(seconds=90),
        format_datetime(moment - timedelta(seconds=90), usegmt=True): timedelta(0),
        "9" * 30: timedelta(hours=1),
        "9" * 5000: timedelta(hours=1),
        "soon": None,
        "-5": None,
    }
    with clock.fixed(moment), receiver.client() as client:
        for value, pause in expected.items():
            reply = Reply(503, headers={"retry-after": value})
            receiver.decide = partial(lambda reply, _command: reply, reply)
            assert client.send(COMMAND).retry_after == pause


def test_a_receiver_that_is_not_there_means_later() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with WebhookClient(f"http://127.0.0.1:{probe.getsockname()[1]}/", SECRET) as client:
            answer = client.send(COMMAND)
    assert answer.verdict is Verdict.LATER
    assert answer.reason.startswith("ConnectError")


def test_a_receiver_that_is_too_slow_means_later(receiver: Receiver) -> None:
    receiver.decide = lambda _command: Reply(seconds=0.5)
    with WebhookClient(receiver.url, SECRET, httpx.Client(timeout=0.1)) as client:
        answer = client.send(COMMAND)
    assert answer.verdict is Verdict.LATER
    assert answer.reason.startswith("ReadTimeout")


@pytest.mark.parametrize("url", ["", "backend", "ftp://x/", "http://", "http://[::", "http:///path"])
def test_unusable_urls_are_named(url: str) -> None:
    with pytest.raises(NotReadyError, match="CREWFLOW_WEBHOOK_URL"):
        WebhookClient(url, SECRET)


@pytest.mark.parametrize("secret", ["", "plain", "whsec_", "whsec_c2hvcnQ=", "whsec_$$$", SECRET[6:]])
def test_unusable_secrets_are_named_but_not_shown(secret: str) -> None:
    with pytest.raises(NotReadyError, match="CREWFLOW_WEBHOOK_SECRET") as caught:
        WebhookClient("http://127.0.0.1/", secret)
    assert "openssl rand" in str(caught.value)
    assert secret in {"", "whsec_"} or secret not in str(caught.value)


def test_the_settings_make_a_client(
    sqlite_store: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotReadyError, match="CREWFLOW_WEBHOOK_URL is not set"):
        WebhookClient.from_settings()
    monkeypatch.setenv("CREWFLOW_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("CREWFLOW_WEBHOOK_SECRET", SECRET)
    get_settings.cache_clear()
    with WebhookClient.from_settings() as client:
        assert client.send(COMMAND).verdict is Verdict.DELIVERED
