"""Events by day in Parquet: written from the inbox, read through Ibis.

A day is written whole, from all that the inbox holds of it, so writing it again picks up what came late. The lake of
a kind says which database's inbox it is of; that of another is put aside, and nothing is ever removed.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.contract import Contract
from crewflow_assets.errors import NotReadyError
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import Event

if TYPE_CHECKING:  # the code location loads without them
    import ibis
    import pyarrow as pa
    from ibis.backends import BaseBackend

ROWS_PER_FETCH = 50_000
DAYS_AT_ONCE = 31
COMMIT_MARGIN = timedelta(minutes=10)
DAYS = "day=????-??-??/events.parquet"
MARK = "complete_until.txt"
logger = logging.getLogger("crewflow.lake")


def folder_of(kind: str) -> Path:
    """Return the folder of an event kind."""
    return get_settings().root / "lake" / kind


def event_schema(kind: str) -> "pa.Schema":
    """Return the Parquet columns of an event kind: its keys and moments, then its payload's fields."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")  # microseconds: Spark refuses nanoseconds
    keys = [("event_id", pa.string()), ("company_id", pa.string()), ("occurred_at", moment), ("received_at", moment)]
    return pa.schema(keys + [(name, _arrow_type(f.annotation)) for name, f in PAYLOADS[kind].model_fields.items()])


def _arrow_type(annotation: Any) -> "pa.DataType":
    import pyarrow as pa

    members = [member for member in get_args(annotation) if member is not type(None)]
    origin = get_origin(annotation)
    if origin is Literal:
        return pa.string()
    if origin is dict or annotation is dict:
        return pa.string()  # as JSON
    if members:
        return _arrow_type(members[0])
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(annotation, pa.string())


def write_day(session: Session, kind: str, day: date) -> int:
    """Write one UTC day of an event kind; see ``write_days``."""
    return write_days(session, kind, [day])


def write_days(session: Session, kind: str, days: Iterable[date]) -> int:
    """Write UTC days of an event kind to their Parquet files, in place of what was there.

    Up to ``DAYS_AT_ONCE`` days change at once. Whoever reads the lake, and then from the inbox what was received
    after its newest event, would otherwise miss what a day lacks that is written later.

    Returns:
        How many events the days have. A day without events gets no file.

    Raises:
        NotReadyError: the lake is another database's and cannot be put aside.
    """
    if not _made_own(session, kind):
        return 0
    folder = folder_of(kind)
    count = 0
    for part in batched(sorted(days), DAYS_AT_ONCE):
        with TemporaryDirectory(prefix=".unfinished-", dir=_made(folder)) as unfinished:
            rows = {day: _write_events(session, kind, day, Path(unfinished) / f"{day}.parquet") for day in part}
            for day in rows:
                if rows[day]:  # at once: a reader sees the old day or the new one
                    file = Path(unfinished) / f"{day}.parquet"
                    file.replace(_made(folder / f"day={day.isoformat()}") / "events.parquet")
        count += sum(rows.values())
    return count


def _write_events(session: Session, kind: str, day: date, file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    begin, end = _bounds(day)
    query = (
        select(Event)
        .where(Event.kind == kind, Event.occurred_at >= begin, Event.occurred_at < end)
        .order_by(Event.occurred_at, Event.id)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    schema = event_schema(kind)
    count = 0
    with pq.ParquetWriter(file, schema) as writer, closing(session.scalars(query)) as found:
        for events in found.partitions():
            writer.write_table(pa.Table.from_pylist([_row(event) for event in events], schema=schema))
            count += len(events)
    return count


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stale_days(session: Session, kind: str) -> dict[date, int]:
    """Return the UTC days of which the lake lacks events, oldest first, with the inbox's number of events.

    The inbox only grows, so equal numbers mean equal events. Of days that were complete at the last look, those that
    got nothing since are not counted again. To an inbox without events no day is stale.

    Raises:
        NotReadyError: the lake is another database's and cannot be put aside.
    """
    looked_at = clock.now()
    if not _made_own(session, kind):
        return {}
    mark = _mark(kind)
    day_of = func.date(Event.occurred_at)
    touched = select(day_of).where(Event.kind == kind).distinct()
    if mark.until:
        # an event may be committed some time after the moment at which it says to have been received
        touched = touched.where(Event.received_at >= datetime.fromisoformat(mark.until) - COMMIT_MARGIN)
    stale: dict[date, int] = {}
    for day in sorted({_as_date(value) for value in (*session.scalars(touched), *mark.stale)}):
        begin, end = _bounds(day)
        count = session.scalar(
            select(func.count()).where(Event.kind == kind, Event.occurred_at >= begin, Event.occurred_at < end)
        )
        if count is not None and count != _rows_written(kind, day):
            stale[day] = count
    lines = [looked_at.isoformat(), mark.inbox, *(day.isoformat() for day in stale)]
    _write(folder_of(kind) / MARK, "\n".join(lines))
    return stale


def _made_own(session: Session, kind: str) -> bool:
    """Make the folder of a kind the lake of this database's inbox, and say whether it is.

    An inbox without events has no lake, and what is there is left alone. A lake without a name is of before there
    were names, and is taken for this inbox's. Another's is renamed whole to a sibling folder. Several processes may
    do so at once: one of their renamings succeeds, as the sibling is there for the others.

    Raises:
        NotReadyError: such a sibling is there from an earlier time, or the file system refuses.
    """
    folder = folder_of(kind)
    former = _mark(kind).inbox  # before the inbox is read: what another process took for its first event is seen then
    inbox = _inbox(session)
    if not inbox:
        if any(folder.glob(DAYS)):
            _warn_of_empty_inbox(folder)
        return False
    if former == inbox:
        return True
    if former and any(folder.glob(DAYS)):
        aside = folder.with_name(f"{kind}-of-{former}")
        try:
            folder.rename(aside)
        except OSError as error:
            if _mark(kind).inbox == former:
                raise NotReadyError(
                    f"the lake's {kind} events are of another database and cannot be put aside as {aside}: {error}; "
                    "check CREWFLOW_DATABASE_URL, and if it is right, move that folder away"
                ) from error
        else:
            logger.warning("the lake's %s events were of another database and are now in %s", kind, aside)
    _write(folder / MARK, f"\n{inbox}")  # no day is known to be complete
    return True


@cache
def _warn_of_empty_inbox(folder: Path) -> None:
    """Say, once a process, that a database without events meets a lake with some."""
    logger.warning("%s is left as it is, since the database has no events: check CREWFLOW_DATABASE_URL", folder)


class Mark(NamedTuple):
    """Until when the lake of a kind is known to be complete but for some days, and its inbox's name."""

    until: str = ""
    inbox: str = ""
    stale: Sequence[str] = ()


def _mark(kind: str) -> Mark:
    """Return what is kept of the last look; empty texts where nothing is."""
    try:
        until, *rest = (folder_of(kind) / MARK).read_text().split("\n")
    except FileNotFoundError:
        return Mark()
    return Mark(until, "".join(rest[:1]), rest[1:])


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


def _rows_written(kind: str, day: date) -> int:
    import pyarrow.parquet as pq

    file = folder_of(kind) / f"day={day.isoformat()}" / "events.parquet"
    return pq.read_metadata(file).num_rows if file.exists() else 0


def _row(event: Event) -> dict[str, Any]:
    payload: Contract = PAYLOADS[event.kind].model_validate(event.payload)
    fields = payload.model_dump(mode="json")
    return {
        **{name: json.dumps(value) if isinstance(value, dict) else value for name, value in fields.items()},
        "event_id": event.event_id,
        "company_id": event.company_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
    }


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
