"""Events by day in Parquet: written from the inbox, read through Ibis.

A day is written whole, from all that the inbox holds of it, so writing it again picks up what came late. Each file
says which inbox it was written from: days of a database before this one are written anew, or removed.
"""

import hashlib
import json
import logging
import shutil
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.contract import Contract
from crewflow_assets.errors import NotReadyError
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.settings import get_settings
from crewflow_assets.store.tables import Event

if TYPE_CHECKING:  # the code location loads without them
    import ibis
    import pyarrow as pa
    from ibis.backends import BaseBackend

ROWS_PER_FETCH = 50_000
COMMIT_MARGIN = timedelta(minutes=10)
INBOX = b"crewflow.inbox"
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
    """Write one UTC day of an event kind to its Parquet file, in place of what was there.

    Returns:
        How many events the day has. A day without events has no file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    begin, end = _bounds(day)
    query = (
        select(Event)
        .where(Event.kind == kind, Event.occurred_at >= begin, Event.occurred_at < end)
        .order_by(Event.occurred_at, Event.id)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    folder = folder_of(kind) / f"day={day.isoformat()}"
    schema = event_schema(kind).with_metadata({INBOX: _inbox(session)})
    count = 0
    with TemporaryDirectory(prefix=".unfinished-", dir=_made(folder_of(kind))) as unfinished:
        file = Path(unfinished) / "events.parquet"
        with pq.ParquetWriter(file, schema) as writer, closing(session.scalars(query)) as found:
            for events in found.partitions():
                writer.write_table(pa.Table.from_pylist([_row(event) for event in events], schema=schema))
                count += len(events)
        if count:
            file.replace(_made(folder) / "events.parquet")  # at once: a reader sees the old day or the new one
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return count


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stale_days(session: Session, kind: str) -> dict[date, int]:
    """Return the UTC days of which the lake lacks events, oldest first, with the inbox's number of events.

    The inbox only grows, so equal numbers mean equal events. Days that were complete at the last look and got
    nothing since are not counted again. A day that another database's inbox had, and this one's has not, counts 0.
    """
    looked_at, inbox = clock.now(), _inbox(session)
    mark = folder_of(kind) / "complete_until.txt"
    until, _, former = mark.read_text().partition("\n") if mark.exists() else ("", "", "")
    day_of = func.date(Event.occurred_at)
    touched = select(day_of).where(Event.kind == kind).distinct()
    days: set[date] = set()
    if until and former == inbox:
        # an event may be committed some time after the moment at which it says to have been received
        touched = touched.where(Event.received_at >= datetime.fromisoformat(until) - COMMIT_MARGIN)
    else:
        days = {date.fromisoformat(folder.name.removeprefix("day=")) for folder in folder_of(kind).glob("day=*")}
    stale: dict[date, int] = {}
    for day in sorted(days | {_as_date(value) for value in session.scalars(touched)}):
        begin, end = _bounds(day)
        count = session.scalar(
            select(func.count()).where(Event.kind == kind, Event.occurred_at >= begin, Event.occurred_at < end)
        )
        if count is not None and count != _rows_written(kind, day, inbox):
            stale[day] = count
    if not stale:
        _write(mark, f"{looked_at.isoformat()}\n{inbox}")
    elif former and former != inbox:
        logger.warning("the lake's %s are of another database; %d days are to be written anew", kind, len(stale))
    return stale


def _inbox(session: Session) -> str:
    """Return what tells a database's inbox from others': a hash of its first event, which stays the first.

    An empty inbox gives an empty text.
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


def _rows_written(kind: str, day: date, inbox: str) -> int:
    """Return how many events of the inbox the day's file holds; -1 where it is another inbox's."""
    import pyarrow.parquet as pq

    file = folder_of(kind) / f"day={day.isoformat()}" / "events.parquet"
    if not file.exists():
        return 0
    written = pq.read_metadata(file)
    return written.num_rows if (written.metadata or {}).get(INBOX) == inbox.encode() else -1


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
    if not any(folder.glob("day=*/events.parquet")):
        raise NotReadyError(
            f"the lake holds no {kind} events; import data or run `crewflow demo`, then materialise lake/{kind}"
        )
    connection = connection or ibis.duckdb.connect()
    files = str(folder / "day=*" / "events.parquet")
    table = connection.read_parquet(files, union_by_name=True)  # days written before a field was added lack it
    return table.filter(table.occurred_at < ibis.timestamp(before.astimezone(UTC).isoformat()))
