"""Rows inserted by one statement however many they are.

Of a few hundred rows that takes half of the time of ``executemany``, for which each row is prepared and stepped by
itself. SQLAlchemy's own statement of many rows is compiled anew for each number of them, which takes longer than
either.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import JSON, Column, Dialect, Table
from sqlalchemy.orm import Session

from crewflow_assets.store.database import VALUES_PER_QUERY, batched

MARKS = {"qmark": "?", "pyformat": "%s", "format": "%s"}
"""A value's place in a statement (https://peps.python.org/pep-0249/#paramstyle)."""


def insert_at_once(session: Session, table: Table, rows: Sequence[Mapping[str, Any]], *, again: bool = False) -> None:
    """Insert rows of a table.

    Args:
        session: An open transaction.
        table: The table.
        rows: Values by the names of all of the table's columns; of JSON columns plain JSON values, among which what
            is no number in JSON becomes null.
        again: Leave those alone whose primary key is there already.

    Raises:
        KeyError: a row lacks a column.
        SQLAlchemyError: the database does not take them.
    """
    connection = session.connection()
    dialect = connection.dialect
    columns = list(table.columns)
    names = ", ".join(map(dialect.identifier_preparer.format_column, columns))
    into = f"INSERT INTO {dialect.identifier_preparer.format_table(table)} ({names}) VALUES "
    one = f"({', '.join([MARKS[dialect.paramstyle]] * len(columns))})"
    takes = [(column.name, _as_written(column, dialect)) for column in columns]
    for some in batched(rows, VALUES_PER_QUERY // len(columns)):
        values = tuple(
            row[name] if written is None else written(row[name]) for row in some for name, written in takes
        )
        statement = into + ", ".join([one] * len(some)) + (" ON CONFLICT DO NOTHING" if again else "")
        connection.exec_driver_sql(statement, values)


def _as_written(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return what makes a column's value one of the driver's; None where it is that already."""
    if isinstance(column.type, JSON):
        return _json_text
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _json_text(value: Any) -> str:
    """Return plain JSON values as text: a third of what ``json.dumps`` takes."""
    return to_json(value, inf_nan_mode="null").decode()
