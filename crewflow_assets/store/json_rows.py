"""Many rows as one JSON text, written by one statement: the database takes them apart, and Python no single value."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, Insert, Table, Text, bindparam, cast, column, func, select, true
from sqlalchemy.orm import Session

from crewflow_assets.store.database import insert_for
from crewflow_assets.store.tables import UtcDateTime

ROWS = "rows"
"""The statement's parameter: a JSON array of objects, a column's value under its name."""
SQLITE_MOMENT = len("2026-01-01 00:00:00.000000")


def moment(at: datetime) -> str:
    """Return a moment as both databases take it from JSON."""
    return at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")


def insert_json(session: Session, table: Table) -> Insert:
    """Return the INSERT of ``ROWS`` into a table of the session's database; rows whose key is there are left alone.

    Moments have to be written by ``moment``. A name that an object lacks is null. Rows are read by ``json_each`` on
    SQLite (https://www.sqlite.org/json1.html) and by ``json_to_recordset`` on PostgreSQL
    (https://www.postgresql.org/docs/15/functions-json.html).
    """
    return _statement(session.get_bind().dialect.name, table)


@lru_cache(maxsize=8)
def _statement(dialect: str, table: Table) -> Insert:
    names = [one.name for one in table.columns]
    rows = bindparam(ROWS, type_=Text())
    if dialect == "postgresql":
        typed = [column(one.name, one.type) for one in table.columns]
        found = func.json_to_recordset(cast(rows, JSON)).table_valued(*typed).render_derived("r", with_types=True)
        source = select(*(found.c[name] for name in names))
    else:
        each = func.json_each(rows).table_valued("value")
        values: list[Any] = []
        for one in table.columns:
            value = func.json_extract(each.c.value, f"$.{one.name}")
            values.append(func.substr(value, 1, SQLITE_MOMENT) if isinstance(one.type, UtcDateTime) else value)
        source = select(*values).where(true())  # else SQLite takes ON CONFLICT for a join's
    statement: Insert = insert_for(dialect, table).from_select(names, source).on_conflict_do_nothing()
    return statement
