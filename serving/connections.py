"""Kept-alive connections end now and then, so that clients spread over the workers anew."""

from random import random

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Spreading:
    """Tells the client with one of so many answers that its connection ends here; the answer itself is complete.

    Which worker accepts a connection is chance, and a kept-alive one stays with it: clients that connect together
    may all meet one worker, and do not leave it. Which answers say so is drawn: nothing is remembered of connections.

    Args:
        app: The application.
        requests: How many requests a connection lasts in the mean.
    """

    def __init__(self, app: ASGIApp, requests: int) -> None:
        self.app = app
        self._share = 1 / requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and random() < self._share:
            await self.app(scope, receive, _last(send))
        else:
            await self.app(scope, receive, send)


def _last(send: Send) -> Send:
    """Return a ``send`` whose answer is the connection's last: uvicorn closes it afterwards."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            headers["Connection"] = "close"
            message = {**message, "headers": headers.raw}
        await send(message)

    return sending
