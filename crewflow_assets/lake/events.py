"""Events by day in Parquet: written from the inbox, read through Ibis.

A day is written whole, from all that the inbox holds of it, so writing it again picks up what came late. A file says
as of when, so that an older state of a day is never put over a newer one. The lake of a kind says which database's
inbox it is of; that of another is put aside, and nothing is ever removed.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError
from crewflow_assets.lake.columns import event_schema, row_of
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import Event

if TYPE_CHECKING:  # the code location loads without them
    import ibis
    from ibis.backends import BaseBackend

ROWS_PER_FETCH = 50_000
DAYS_AT_ONCE = 31
COMMIT_MARGIN = timedelta(minutes=10)
DAYS = "day=????-??-??/events.parquet"
NAME = "complete_until.txt"
"""Whose lake it is, in the second line; in the first, earlier releases said until when it was complete."""
LOOK = "last_look.txt"
AS_OF = "crewflow.as_of"
"""In a file's metadata, the moment after which events may have come that it lacks."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)
logger = logging.getLogger("crewflow.lake")


def folder_of(kind: str) -> Path:
    """Return the folder of an event kind."""
    return get_settings().root / "lake" / kind


def write_days(session: Session, kind: str, days: Iterable[date]) -> int:
    """Write UTC days of an event kind to their Parquet files, in place of what was there.

    Up to ``DAYS_AT_ONCE`` days change at once. Whoever reads the lake, and then from the inbox what was received
    after its newest event, would otherwise miss what a day lacks that is written later. What another process wrote
    meanwhile, of a later state, stays.

    Args:
        session: One that has read nothing yet: on SQLite it sees the state of its first query to the end.
        kind: The kind.
        days: The days.

    Returns:
        How many events the days have. A day without events gets no file.

    Raises:
        NotReadyError: the lake is another database's and cannot be put aside.
    """
    as_of = clock.now()
    if not _own_inbox(session, kind):
        return 0
    folder = folder_of(kind)
    count = 0
    for part in batched(sorted(days), DAYS_AT_ONCE):
        with TemporaryDirectory(prefix=".unfinished-", dir=_made(folder)) as unfinished:
            files = {day: Path(unfinished) / f"{day}.parquet" for day in part}
            rows = {day: _write_events(session, kind, day, as_of, file) for day, file in files.items()}
            for day, file in files.items():
                if rows[day] and not written(kind, day).supersedes(Written(rows[day], as_of)):
                    # at once: a reader sees the old day or the new one
                    file.replace(_made(folder / f"day={day.isoformat()}") / "events.parquet")
        count += sum(rows.values())
    return count


class Written(NamedTuple):
    """How many events the file of a day holds, and as of when; those of earlier releases do not say when."""

    rows: int = 0
    as_of: datetime | None = None

    def is_whole(self, day: date) -> bool:
        """Say whether the day was over when it was read from the inbox, as far as is known."""
        return self.as_of is None or self.as_of >= _bounds(day)[1]

    def supersedes(self, other: "Written") -> bool:
        """Say whether this is known to be a later state of the same day."""
        later = self.as_of is not None and other.as_of is not None and self.as_of > other.as_of
        return later and self.rows >= other.rows


def written(kind: str, day: date) -> Written:
    """Return what is known of the file of a day; without one, or one that can be read, it holds no events."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder_of(kind) / f"day={day.isoformat()}" / "events.parquet"
    if not file.exists():
        return Written()
    try:
        found = pq.read_metadata(file)
    except pa.ArrowInvalid:  # a power cut left it torn: it is written anew
        return Written(as_of=LONG_AGO)
    as_of = (found.metadata or {}).get(AS_OF.encode())
    return Written(found.num_rows, None if as_of is None else datetime.fromisoformat(as_of.decode()))


def _write_events(session: Session, kind: str, day: date, as_of: datetime, file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    begin, end = _bounds(day)
    query = (
        select(Event)
        .where(Event.kind == kind, Event.occurred_at >= begin, Event.occurred_at < end)
        .order_by(Event.occurred_at, Event.id)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    schema = event_schema(kind).with_metadata({AS_OF: as_of.isoformat()})
    count = 0
    with pq.ParquetWriter(file, schema) as writer, closing(session.scalars(query)) as found:
        for events in found.partitions():
            writer.write_table(pa.Table.from_pylist([row_of(event) for event in events], schema=schema))
            count += len(events)
    with file.open("rb") as done:
        os.fsync(done.fileno())  # before it gets its name
    return count


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stale_days(session: Session, kind: str) -> dict[date, int]:
    """Return the UTC days that the lake has to take up, oldest first, with the inbox's number of events.

    It lacks events of them, or wrote them before they were over, so that nobody knows that it lacks none. The inbox
    only grows, so equal numbers mean equal events. Days that were over and complete at the last look are not counted
    again unless they got events since. To an inbox without events no day is stale.

    Raises:
        NotReadyError: the lake is another database's and cannot be put aside.
    """
    now = clock.now()
    inbox = _own_inbox(session, kind)
    if not inbox:
        return {}
    last = _last_look(kind, inbox)
    newest = session.scalar(select(func.max(Event.received_at)).where(Event.kind == kind))
    touched = select(func.date(Event.occurred_at)).where(Event.kind == kind).distinct()
    if last.until is not None:
        touched = touched.where(Event.received_at > last.until)
    stale: dict[date, int] = {}
    open_days = []
    for day in sorted({_as_date(value) for value in (*session.scalars(touched), *last.days)}):
        begin, end = _bounds(day)
        count = session.scalar(
            select(func.count()).where(Event.kind == kind, Event.occurred_at >= begin, Event.occurred_at < end)
        )
        found = written(kind, day)
        if count and (count != found.rows or (end <= now and not found.is_whole(day))):
            stale[day] = count
        if day in stale or end > now:
            open_days.append(day.isoformat())
    # an event may be committed some time after the moment at which it says to have been received
    until = "" if newest is None else min(newest, now - COMMIT_MARGIN).astimezone(UTC).isoformat()
    _write(folder_of(kind) / LOOK, "\n".join([inbox, until, *open_days]))
    return stale


class Look(NamedTuple):
    """What a look at the lake of a kind leaves to the next one."""

    until: datetime | None = None
    """Up to when it saw all that was received: the newest event at most, as the next may be older than the look."""
    days: Sequence[date] = ()
    """Those to look at again: stale ones, and those that are not over."""


def _last_look(kind: str, inbox: str) -> Look:
    """Return what is kept of the last look; nothing where it was at another inbox."""
    try:
        whose, until, *days = (folder_of(kind) / LOOK).read_text().split("\n")
        known = Look(
            None if until == "" else datetime.fromisoformat(until), [date.fromisoformat(day) for day in days]
        )
    except (FileNotFoundError, ValueError):  # there was none, or a power cut left it torn: all is counted once
        return Look()
    return known if whose == inbox else Look()


def _own_inbox(session: Session, kind: str) -> str:
    """Make the folder of a kind the lake of this database's inbox, and return that one's name.

    An inbox without events has neither a name nor a lake, and what is there is left alone. A lake without a name is
    of before there were names, and is taken for this inbox's. Another's is renamed whole to a sibling folder. Several
    processes may do so at once: one of their renamings succeeds, as the sibling is there for the others.

    Raises:
        NotReadyError: such a sibling is there from an earlier time, or the file system refuses.
    """
    folder = folder_of(kind)
    former = _name(kind)  # before the inbox is read: what another process took for its first event is seen then
    inbox = _inbox(session)
    if not inbox:
        if any(folder.glob(DAYS)):
            _warn_of_empty_inbox(folder)
        return ""
    if former == inbox:
        return inbox
    if former and any(folder.glob(DAYS)):
        aside = folder.with_name(f"{kind}-of-{former}")
        try:
            folder.rename(aside)
        except OSError as error:
            if _name(kind) == former:
                raise NotReadyError(
                    f"the lake's {kind} events are of another database and cannot be put aside as {aside}: {error}; "
                    "check CREWFLOW_DATABASE_URL, and if it is right, move that folder away"
                ) from error
        else:
            logger.warning("the lake's %s events were of another database and are now in %s", kind, aside)
    (folder / LOOK).unlink(missing_ok=True)  # no day is known to be complete
    _write(folder / NAME, f"\n{inbox}")
    return inbox


@cache
def _warn_of_empty_inbox(folder: Path) -> None:
    """Say, once a process, that a database without events meets a lake with some."""
    logger.warning("%s is left as it is, since the database has no events: check CREWFLOW_DATABASE_URL", folder)


def _name(kind: str) -> str:
    """Return the name of the inbox that the lake of a kind is of; an empty text where none is kept."""
    try:
        return "".join((folder_of(kind) / NAME).read_text().split("\n")[1:2])
    except FileNotFoundError:
        return ""


def _inbox(session: Session) -> str:
    """Return the name of the database's inbox, a hash of its first event; an empty text if it has none.

    The first event stays the first, but on PostgreSQL it may change once, while the very first writers commit: then
    the young lake is put aside and written anew.
    """
    first = session.scalar(select(Event).order_by(Event.id).limit(1))
    if first is None:
        return ""
    said = (first.company_id, first.event_id, first.received_at.astimezone(UTC).isoformat())
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _write(file: Path, text: str) -> None:
    """Write a file at once: sensors and runs read it from other processes, and a killed one leaves the old text."""
    with TemporaryDirectory(prefix=".unfinished-", dir=_made(file.parent)) as unfinished:
        new = Path(unfinished) / file.name
        new.write_text(text)
        new.replace(file)


def _as_date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))


def _bounds(day: date) -> tuple[datetime, datetime]:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return begin, begin + timedelta(days=1)


def read_events(kind: str, *, before: datetime, connection: "BaseBackend | None" = None) -> "ibis.Table":
    """Return all events of a kind that happened before a moment, as an Ibis table on DuckDB.

    Args:
        kind: The kind.
        before: The moment.
        connection: Where tables that are to be joined live; by default a connection of its own.

    Raises:
        NotReadyError: the lake holds no event of that kind.
    """
    import ibis

    folder = folder_of(kind)
    if not any(folder.glob(DAYS)):
        raise NotReadyError(
            f"the lake holds no {kind} events; import data or run `crewflow demo`, then materialise lake/{kind}"
        )
    connection = connection or ibis.duckdb.connect()
    files = str(folder / DAYS)
    table = connection.read_parquet(files, union_by_name=True)  # days written before a field was added lack it
    return table.filter(table.occurred_at < ibis.timestamp(before.astimezone(UTC).isoformat()))
