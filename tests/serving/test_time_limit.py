"""A request that takes too long is ended; one that does not leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serving.service import GuardedService
from serving.time_limit import TimeLimit

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def asked(limited: TimeLimit) -> list[Message]:
    """Return what one request is sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await limited({"type": "http", "method": "GET", "path": "/", "headers": []}, nothing, send)
    return sent


def test_an_answer_that_has_begun_takes_as_long_as_its_reader() -> None:
    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"all of it"})

    first, last = asyncio.run(asked(TimeLimit(slowly, 0.05)))
    assert (first["status"], last["body"]) == (200, b"all of it")


async def late(send: Send) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await send(START)


async def unmoved(send: Send) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await send(START)


async def failing(send: Send) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise ValueError("cancelled") from None


@pytest.mark.parametrize("way", [late, unmoved, failing])
def test_what_is_cancelled_is_refused_however_it_ends(way: Callable[[Send], Awaitable[None]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await way(send)

    first, _ = asyncio.run(asked(TimeLimit(app, 0.05)))
    assert first["status"] == 503


def test_a_timeout_of_the_applications_own_stays_its_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("of the application")

    with pytest.raises(TimeoutError, match="of the application"):
        asyncio.run(asked(TimeLimit(app, 60)))


def test_an_answered_request_leaves_no_timer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)

    async def many() -> list[asyncio.TimerHandle]:
        loop, made = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
        call_at = loop.call_at

        def noted(*args: Any, **words: Any) -> asyncio.TimerHandle:
            made.append(call_at(*args, **words))
            return made[-1]

        monkeypatch.setattr(loop, "call_at", noted)
        for _ in range(20):
            await asked(TimeLimit(quick, 60))
        return made

    made = asyncio.run(many())
    assert len(made) == 20
    assert all(one.cancelled() for one in made)


def test_services_have_this_limit_and_not_bentomls(service: GuardedService) -> None:
    app: Any = service.to_asgi()
    while not hasattr(app, "user_middleware"):
        app = app.app
    names = [one.cls.__name__ for one in app.user_middleware]
    assert "TimeLimit" in names
    assert "TimeoutMiddleware" not in names
