"""The outermost middleware: request id, size and JSON of the body, key, rate limit, problem+json, access log."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json, to_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crewflow_assets import clock
from crewflow_assets.settings import get_settings
from serving import caller, metrics
from serving.body import Disconnected, check_json, read_body, replayed
from serving.problems import MEDIA_TYPE, RETRY_SECONDS, Problem, invalid_fields, problem_of, request_id
from serving.routing import Template
from serving.runtime import Runtime

access_log = logging.getLogger("crewflow.access")
logger = logging.getLogger("crewflow.serving")

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/healthz", "/metrics", "/docs", "/docs.json"})
OPEN_BODY_BYTES = 1024
"""An open path takes no body; one that a client sends all the same is borne up to this length."""
QUIET_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
REAL_PATH = "crewflow.path"
SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,100}")


class Guard:
    """Lets in what the contract allows, and lets nothing out but what it promises.

    ``template_of`` gives a path's route, under which it is counted, so that ids do not multiply the metrics.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime, template_of: Callable[[str], Template]) -> None:
        self.app = app
        self.runtime = runtime
        self.template_of = template_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        answer = _Answer(scope, send, Headers(scope=scope).get("x-request-id"))
        template = self.template_of(scope["path"])
        size = 0
        try:
            body = await self._admitted(scope, receive, answer)
            if scope["method"] in WITH_BODY & template.methods:
                check_json(body)
            size = len(body)
            scope = {
                **scope,
                "headers": _as_json(scope["headers"], size),
                REAL_PATH: scope["path"],
                "path": template.path,
            }
            await self.app(scope, replayed(body, receive), answer.send)
            await answer.finish()
        except Disconnected:
            answer.status = 499
        except Exception as error:  # noqa: BLE001  # nothing but an answer may leave the guard
            problem = problem_of(error)
            if problem.status < 500:
                metrics.REFUSED.labels(problem.status).inc()
            await answer.refuse(problem)
        finally:
            if scope.get(REAL_PATH, scope["path"]) not in QUIET_PATHS:
                answer.log(scope["method"], template.path, size)

    async def _admitted(self, scope: Scope, receive: Receive, answer: "_Answer") -> bytes:
        """Return the body of a request that may come in.

        Raises:
            Problem: it may not.
            Disconnected: its sender has gone.
        """
        headers = Headers(scope=scope)
        limit, remedy = OPEN_BODY_BYTES, "this path takes no body"
        if scope["path"] not in OPEN_PATHS:
            limit, remedy = get_settings().max_body_bytes, "send it in parts"
            who = await self.runtime.keyring.caller(headers.get("authorization"))
            answer.key_id = who.key_id
            self.runtime.limiter.take(who)
            caller.enter(who)
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise Problem(415, f"the body is encoded as {encoding[:40]!r}; send it unencoded")
        declared = headers.get("content-length", "")
        return await read_body(receive, int(declared) if declared.isdecimal() else None, limit, remedy)


class RestorePath:
    """The innermost middleware: gives the routes the path that the guard kept from the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with the real path."""
        if REAL_PATH in scope:
            scope["path"] = scope[REAL_PATH]
        await self.app(scope, receive, send)


class _Answer:
    """One answer on its way out: errors are held back and sent on as problem+json."""

    def __init__(self, scope: Scope, send: Send, wanted_id: str | None) -> None:
        sane = wanted_id is not None and SANE_ID.fullmatch(wanted_id)
        self.request_id = wanted_id if wanted_id is not None and sane else f"r-{secrets.token_hex(8)}"
        request_id.set(self.request_id)
        self.status = 0
        self.key_id: int | None = None
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()
        self._held: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        """Send what the app answers, unless it is an error that is not yet a problem."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            headers["X-Request-Id"] = self.request_id
            message = {**message, "headers": headers.raw}
            if message["status"] >= 400 and headers.get("content-type") != MEDIA_TYPE:
                self._held = message
                return
            self.status = message["status"]
        elif message["type"] == "http.response.body" and self._held is not None:
            self._body += message.get("body", b"")
            return
        await self._send(message)

    async def finish(self) -> None:
        """Send the error that was held back, as a problem."""
        if self._held is not None:
            headers = Headers(raw=self._held["headers"])
            await self.refuse(_as_problem(self._held["status"], headers, bytes(self._body), self._scope))

    async def refuse(self, problem: Problem) -> None:
        """Send a problem, if nothing was sent yet."""
        if self.status:
            return
        self._held = None
        response = problem.response()
        response.headers["X-Request-Id"] = self.request_id
        await response(self._scope, _nothing_more, self.send)

    def log(self, method: str, template: str, size: int) -> None:
        """Write the access log's line: no path with ids, no query, no header, no body."""
        line = {
            "at": clock.now(),
            "request_id": self.request_id,
            "method": method,
            "route": template,
            "status": self.status,
            "ms": round(1000 * (time.perf_counter() - self._began), 1),
            "bytes": size,
            "key": self.key_id,
        }
        access_log.info("%s", to_json(line).decode())


def _as_problem(status: int, headers: Mapping[str, str], body: bytes, scope: Scope) -> Problem:
    """Turn what BentoML or Starlette answer into our problem."""
    try:
        content: Any = from_json(body)
    except ValueError:
        content = body.decode(errors="replace")
    if status == 400 and isinstance(content, dict) and isinstance(content.get("detail"), list):
        return invalid_fields(content["detail"])
    asked = f"{scope['method']} {scope['path'][:200]}"
    match status:
        case 404:
            return Problem(404, f"there is no route {asked}; /docs lists them")
        case 405:
            allowed = headers.get("allow", "")
            return Problem(
                405, f"{asked} is not allowed; use {allowed or 'another method'}", headers={"Allow": allowed}
            )
        case 429:
            retry = {"Retry-After": str(RETRY_SECONDS)}
            return Problem(429, "the server is handling as many requests as it can; try again", headers=retry)
        case 503:
            retry = {"Retry-After": str(RETRY_SECONDS)}
            return Problem(503, "the service is not ready; try again", headers=retry)
        case _ if status < 500:
            return Problem(status, content if isinstance(content, str) else to_json(content).decode()[:500])
        case _:
            logger.error("%s: %s was answered %d: %s", request_id.get(), asked, status, str(content)[:500])
            return Problem(500, "an unexpected error, logged with this request's id; please report it")


def _as_json(headers: list[tuple[bytes, bytes]], size: int) -> list[tuple[bytes, bytes]]:
    """Say that the body is JSON of its true length, whatever the client said."""
    dropped = (b"content-type", b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    return [*kept, (b"content-type", b"application/json"), (b"content-length", str(size).encode())]


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}
