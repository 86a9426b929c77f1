"""Sending one command as a webhook (https://www.standardwebhooks.com), and what each answer means."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import httpx
from standardwebhooks import Webhook

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError
from crewflow_assets.settings import get_settings
from crewflow_assets.store.tables import OutboxCommand

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
LONGEST_RETRY_AFTER = timedelta(hours=1)
REASON_LENGTH = 500

REFUSALS = frozenset({400, 409, 410, 422})
BUSY = frozenset({408, 425, 429})


class Verdict(StrEnum):
    """What an answer means for the command."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    LATER = "later"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a command: the verdict, why, and how long the receiver wants to be left alone."""

    verdict: Verdict
    reason: str
    retry_after: timedelta | None = None


class WebhookClient:
    """Sends commands to one receiver, signed; close it, or use it as a context manager."""

    def __init__(self, url: str, secret: str, http: httpx.Client | None = None) -> None:
        """Check the URL and the secret, before anything is sent.

        Raises:
            NotReadyError: One of them is unusable; the text names the setting.
        """
        self._url = _checked_url(url)
        self._signer = Webhook(_checked_secret(secret))
        self._http = http or httpx.Client(timeout=TIMEOUT)

    @classmethod
    def from_settings(cls) -> Self:
        """Return a client for ``CREWFLOW_WEBHOOK_URL`` with ``CREWFLOW_WEBHOOK_SECRET``.

        Raises:
            NotReadyError: One of the two is missing or unusable.
        """
        settings = get_settings()
        if not settings.webhook_url:
            raise NotReadyError("CREWFLOW_WEBHOOK_URL is not set: the outbox does not know where to send")
        return cls(settings.webhook_url, settings.webhook_secret.get_secret_value())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, command: OutboxCommand) -> Answer:
        """Send a command once and say what the answer means; network trouble is an answer too."""
        body = json.dumps(envelope(command), separators=(",", ":"), allow_nan=False)
        moment = clock.now()
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "user-agent": "crewflow-ml",
            "webhook-id": command.idempotency_key,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": self._signer.sign(command.idempotency_key, moment, body),
        }
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as response:
                return _judge(response)
        except httpx.TransportError as error:
            return Answer(Verdict.LATER, _one_line(f"{type(error).__name__}: {error}"))


def envelope(command: OutboxCommand) -> dict[str, Any]:
    """Return the body of the webhook."""
    return {
        "id": command.idempotency_key,
        "command": command.command,
        "company_id": command.company_id,
        "record": command.record_key,
        "payload": command.payload,
        "created_at": command.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def _checked_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise NotReadyError(f"CREWFLOW_WEBHOOK_URL is {url!r}; it must be an http:// or https:// address")
    return parsed


def _checked_secret(secret: str) -> str:
    remedy = 'make one with: echo "whsec_$(openssl rand -base64 32)", and give it to the receiver too'
    if not secret:
        raise NotReadyError(f"CREWFLOW_WEBHOOK_SECRET is not set, and commands are sent signed; {remedy}")
    try:
        size = len(base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True))
    except binascii.Error:
        size = 0
    if not secret.startswith(SECRET_PREFIX) or size not in SECRET_BYTES:
        raise NotReadyError(
            f"CREWFLOW_WEBHOOK_SECRET must be {SECRET_PREFIX} and the base64 of {SECRET_BYTES.start} to "
            f"{SECRET_BYTES.stop - 1} random bytes; {remedy}"
        )
    return secret


def _judge(response: httpx.Response) -> Answer:
    status = response.status_code
    reason = _reason(response)
    if response.is_success:
        return Answer(Verdict.DELIVERED, reason)
    if status in REFUSALS:
        return Answer(Verdict.REFUSED, reason)
    verdict = Verdict.LATER if status in BUSY or response.is_server_error else Verdict.MISCONFIGURED
    return Answer(verdict, reason, _retry_after(response.headers.get("retry-after")))


def _reason(response: httpx.Response) -> str:
    """Return the status with what the receiver says about it: problem+json's detail, or the body's text."""
    body = b""
    try:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > 8 * REASON_LENGTH:
                break
    except httpx.TransportError:
        pass  # the status has arrived, and it decides
    text = body.decode(errors="replace")
    try:
        problem = json.loads(text)
    except (ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict):
        text = str(problem.get("detail") or problem.get("title") or text)
    return _one_line(f"HTTP {response.status_code} {response.reason_phrase}: {text}").rstrip(" :")


def _one_line(text: str) -> str:
    """Return at most 500 printable characters: a database's text column takes neither NUL nor surrogates."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:REASON_LENGTH]


def _retry_after(value: str | None) -> timedelta | None:
    """Read a Retry-After header, in seconds or as a date; None where there is none, or it makes no sense."""
    if value is None:
        return None
    try:
        pause = timedelta(seconds=int(value)) if value.isdecimal() else _until(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return LONGEST_RETRY_AFTER if value.isdecimal() else None
    return min(max(pause, timedelta(0)), LONGEST_RETRY_AFTER)


def _until(moment: datetime) -> timedelta:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - clock.now()
