"""How long a request may take until its answer begins."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import RETRY_SECONDS, Problem

logger = logging.getLogger("crewflow.serving")


class TimeLimit:
    """Ends what has not begun to answer in time, and answers 503 in its place.

    It replaces BentoML's ``TimeoutMiddleware``, which leaves its timer, a future and a context behind each request
    for as long as the request might have taken: of 60 s and 500 requests a second, 30,000 of each, which every full
    collection of garbage goes through.

    Args:
        app: What answers.
        timeout: Seconds; once the answer has begun it may take as long as its reader does.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self.app = app
        self.timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is answered in time."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = asyncio.timeout(self.timeout)

        async def begun(message: Message) -> None:
            if not limit.expired():  # else 503 is the answer
                limit.reschedule(None)
                await send(message)

        try:
            async with limit:
                await self.app(scope, receive, begun)
        except Exception as error:
            if not limit.expired():
                raise
            if not isinstance(error, TimeoutError):
                logger.error("a request that took too long ended with an error", exc_info=error)
        if limit.expired():
            retry = {"Retry-After": str(RETRY_SECONDS)}
            await Problem(503, "the request took too long; try again", headers=retry).response()(scope, receive, send)
        return None
