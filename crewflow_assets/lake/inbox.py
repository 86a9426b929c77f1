"""Which events of the inbox are new to a reader that looks at it again and again, without reading any twice."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.lake.events import COMMIT_MARGIN
from crewflow_assets.store.database import batched, connected
from crewflow_assets.store.tables import Event

EVENTS = select(
    Event.id, Event.kind, Event.event_id, Event.company_id, Event.occurred_at, Event.received_at, Event.payload
)
_UNSETTLED = Event.id > bindparam("after")
_UNSETTLED_IDS = select(Event.id).where(_UNSETTLED)
_UNSETTLED_COUNT = select(func.count()).select_from(Event).where(_UNSETTLED)
_NEWEST = select(func.max(Event.id))
_LAST_BEFORE = select(Event.id).where(Event.received_at < bindparam("before")).order_by(Event.id.desc()).limit(1)
COUNT_EVERY_SECONDS = 1.0
SETTLE_EVERY = timedelta(minutes=1)


class Inbox:
    """One reader's place in the inbox.

    An event may be committed after another of a higher id. Once a second those of the last minutes are therefore
    counted again; which of them were taken is remembered. Not for several threads at once.

    Args:
        kinds: The kinds of the events that the reader wants.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = tuple(kinds)
        self._settled = 0
        """All up to this id was taken, and nothing is committed there any more."""
        self._settle_at = datetime.min.replace(tzinfo=UTC)
        self._taken: set[int] = set()
        self._newest: int | None = None
        self._count_at = 0.0

    def begin(self) -> None:
        """Take all that is there now for taken; what is read after this may be found again by the next look."""
        self._newest = None
        with connected() as connection:
            self._settled = settled(connection)
            self._taken = set(connection.scalars(_UNSETTLED_IDS, {"after": self._settled}))

    def look(self, take: Callable[[Sequence[Any]], None]) -> bool:
        """Hand over the wanted events that are new, rows of ``EVENTS``; where ``take`` raises, they stay new.

        Returns:
            Whether the inbox was looked through: not where nothing newer is there and no second has passed.
        """
        with connected() as connection:
            newest = connection.scalar(_NEWEST)
            if newest == self._newest and monotonic() < self._count_at:
                return False
            self._newest = None
            after = {"after": self._settled}
            if connection.scalar(_UNSETTLED_COUNT, after) != len(self._taken):
                fresh = [id_ for id_ in connection.scalars(_UNSETTLED_IDS, after) if id_ not in self._taken]
                wanted = EVENTS.where(Event.kind.in_(self._kinds))
                take([row for part in batched(fresh) for row in connection.execute(wanted.where(Event.id.in_(part)))])
                self._taken.update(fresh)
            self._newest, self._count_at = newest, monotonic() + COUNT_EVERY_SECONDS
            if self._taken and clock.now() >= self._settle_at:
                self._settle_at = clock.now() + SETTLE_EVERY
                self._settled = max(self._settled, settled(connection))
                self._taken = {id_ for id_ in self._taken if id_ > self._settled}
        return True


class Turn:
    """A lock around what asks the database: those who waited share its silence.

    Otherwise each of them in turn would find out anew, over seconds, that it does not answer. What the database
    itself refuses, such as one statement that takes too long (it has an SQLSTATE then), is nobody else's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed_at = -1.0
        self._failure: OperationalError | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            OperationalError: the database did not answer whoever held it meanwhile.
        """
        came = monotonic()
        with self._lock:
            if self._failure is not None and self._failed_at >= came:
                raise self._failure.with_traceback(None)
            try:
                yield
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) is None:
                    self._failure, self._failed_at = error, monotonic()
                raise


def settled(connection: Connection | Session) -> int:
    """Return the id of an event before which nothing is committed any more, or 0."""
    return connection.scalar(_LAST_BEFORE, {"before": clock.now() - COMMIT_MARGIN}) or 0
