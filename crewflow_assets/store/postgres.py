"""Connections to PostgreSQL that end where it does not answer: libpq waits for a silent server for ever.

Against a dead host or network TCP's own means help; against a server that is there and silent (paused, out of memory,
behind a proxy that has lost it) none of libpq's does, and ``statement_timeout`` is the server's to keep.
"""

import threading
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready
from sqlalchemy import Engine, event

CONNECT_SECONDS = 5
"""For each address of the host; psycopg takes at least 2."""
PING_SECONDS = 5.0
GRACE_SECONDS = 5.0
"""By so much the server's own limit on a statement comes before the client's on silence."""
TCP = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A host that is gone is noticed within a minute: by keepalives while an answer is awaited, by unacknowledged data
after ``tcp_user_timeout`` milliseconds (https://www.postgresql.org/docs/current/libpq-connect.html)."""

T = TypeVar("T")


class NoAnswerError(psycopg.OperationalError):
    """The server took a request and says nothing."""


def connect_arguments(statement_seconds: float | None) -> dict[str, Any]:
    """Return libpq's parameters.

    Args:
        statement_seconds: After this the server cancels a statement, also one that waits for a lock; None for never.
    """
    options = "-c timezone=utc"
    if statement_seconds is not None:
        options += f" -c statement_timeout={round(1000 * statement_seconds)}"
    return {"options": options, "connect_timeout": CONNECT_SECONDS, **TCP}


class Listening(psycopg.Connection[Any]):
    """A connection that is closed when the server is silent for too long."""

    statement_seconds: float | None = None

    def wait(self, gen: PQGen[T], *args: Any, **named: Any) -> T:
        """Wait for the server.

        Raises:
            NoAnswerError: it said nothing within the time allowed; the connection is closed.
        """
        if self.statement_seconds is None:
            return super().wait(gen, *args, **named)
        # outside of transactions only the pool asks whether the connection still stands
        limit = PING_SECONDS if self.autocommit else self.statement_seconds + GRACE_SECONDS
        try:
            return super().wait(_answered(gen, limit), *args, **named)
        except NoAnswerError:
            self.close()
            raise


def _answered(gen: PQGen[T], seconds: float) -> PQGen[T]:
    """Pass on what psycopg waits for, as long as the server is heard within so many seconds."""
    heard = monotonic()
    try:
        state = next(gen)
        while True:
            ready = yield state
            now = monotonic()
            if ready != Ready.NONE:
                heard = now
            elif now > heard + seconds:
                raise NoAnswerError(f"the server has not answered for {seconds:g} seconds")
            state = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


class Door:
    """Opens connections; while the server is silent, for one thread at a time, so that the others need not wait."""

    def __init__(self, statement_seconds: float | None) -> None:
        self._statement_seconds = statement_seconds
        self._silent = False
        self._asking = threading.Lock()

    def open(self, *args: Any, **named: Any) -> Listening:
        """Connect.

        Raises:
            NoAnswerError: the server is silent, and another thread asks it at the moment.
            psycopg.OperationalError: the server refuses, or does not answer.
        """
        if not self._silent:
            return self._open(*args, **named)
        if not self._asking.acquire(blocking=False):
            raise NoAnswerError("the server did not answer lately, and is being asked again")
        try:
            return self._open(*args, **named)
        finally:
            self._asking.release()

    def _open(self, *args: Any, **named: Any) -> Listening:
        try:
            connection = Listening.connect(*args, **named)
        except psycopg.errors.ConnectionTimeout:
            self._silent = True
            raise
        self._silent = False
        connection.statement_seconds = self._statement_seconds
        return connection


def use_door(engine: Engine, statement_seconds: float | None) -> None:
    """Let an engine's connections come through a door of its own."""
    door = Door(statement_seconds)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, named: Any) -> Listening:
        return door.open(*args, **named)
