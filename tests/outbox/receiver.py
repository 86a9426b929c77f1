"""A real HTTP receiver of webhooks on 127.0.0.1, as docs/webhooks.md describes one."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from crewflow_assets.outbox.webhook import WebhookClient

SECRET = "whsec_" + "c2VjcmV0" * 6


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


Decide = Callable[[dict[str, Any]], Reply]


@dataclass
class Receiver:
    """Verifies each request, replies as told, and carries out each id once."""

    url: str = ""
    decide: Decide = lambda _command: Reply()
    commands: list[dict[str, Any]] = field(default_factory=list)
    raw: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    effects: dict[str, dict[str, Any]] = field(default_factory=dict)
    overlaps: int = 0
    _in_flight: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, secret: str = SECRET) -> WebhookClient:
        return WebhookClient(self.url, secret)

    @property
    def ids(self) -> list[str]:
        return [command["id"] for command in self.commands]

    def answer(self, headers: dict[str, str], body: bytes) -> Reply:
        try:
            command = Webhook(SECRET).verify(body, headers)
        except WebhookVerificationError as error:
            return Reply(401, str(error).encode())
        with self._lock:
            self.overlaps += command["id"] in self._in_flight
            self._in_flight.add(command["id"])
            self.commands.append(command)
            self.raw.append((headers, body))
        reply = self.decide(command)
        time.sleep(reply.seconds)
        with self._lock:
            if 200 <= reply.status < 300:
                self.effects.setdefault(command["id"], command)
            self._in_flight.discard(command["id"])
        return reply


@contextmanager
def running() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            reply = receiver.answer({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            with suppress(ConnectionError):  # the sender may have gone: that is tested
                self.end_headers()
                self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/crewflow"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def worker(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code as a process of its own, and kill it where the test leaves it running."""
    command = [sys.executable, "-u", "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def problem(status: int, detail: str) -> Reply:
    body = json.dumps({"title": "refused", "status": status, "detail": detail}).encode()
    return Reply(status, body, {"content-type": "application/problem+json"})
