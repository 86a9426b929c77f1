"""Connections to the operational database, SQLite in WAL mode or PostgreSQL, and transactions on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from crewflow_assets.settings import get_settings

READ_ONLY = "crewflow_read_only"
VALUES_PER_QUERY = 10_000
"""Databases bound the parameters of a statement: SQLite to 32,766, PostgreSQL to 65,535."""
MOST_CONNECTIONS = 48
"""Of one process, as many as a gateway's worker has threads that may need one: none waits for another's."""
POOL = {"pool_size": 12, "max_overflow": MOST_CONNECTIONS - 12, "pool_timeout": 10.0}
"""Twelve connections are kept, the others closed after use; what waits for one does so for at most ten seconds."""

T = TypeVar("T")


def _use_sqlite_transactions(engine: Engine) -> None:
    """Let SQLAlchemy, not the driver, begin transactions, and writers queue instead of failing.

    A deferred transaction that reads and then writes fails at once when another writer came between;
    BEGIN IMMEDIATE takes the write lock first and waits for it (https://www.sqlite.org/lang_transaction.html).
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@lru_cache(maxsize=8)
def engine_for(url: str) -> Engine:
    """Return the one engine of this process for a database URL.

    On PostgreSQL a statement is given up after ``CREWFLOW_DATABASE_SECONDS``, and never where that is not set.
    """
    parsed = make_url(url)
    # parameters are customers' names, and errors are logged: they are hidden
    options = {"hide_parameters": True, **POOL}
    if parsed.get_backend_name() != "sqlite":
        from crewflow_assets.store import postgres

        limit = get_settings().database_seconds
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=postgres.connect_arguments(limit), **options)
        postgres.use_door(engine, limit)
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, **options)
    _use_sqlite_transactions(engine)
    return engine


def engine() -> Engine:
    """Return the engine of the configured database."""
    return engine_for(get_settings().sqlalchemy_url)


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a session whose writes are committed together, or not at all when the block raises."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def connected() -> Iterator[Connection]:
    """Open a connection that only reads: on SQLite it never waits for a writer."""
    with engine().connect().execution_options(**{READ_ONLY: True}) as connection:
        yield connection


@contextmanager
def reading() -> Iterator[Session]:
    """Open a session on a connection that only reads."""
    with connected() as connection, Session(connection) as session:
        yield session


def insert_into(session: Session, table: Any) -> Any:
    """Return an INSERT into a table or its class, of the session's database: it has ``on_conflict_do_nothing``."""
    return insert_for(session.get_bind().dialect.name, table)


def insert_for(dialect: str, table: Any) -> Any:
    """Return ``insert_into`` for a database by its name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def batched(values: Sequence[T], size: int = VALUES_PER_QUERY) -> Iterator[Sequence[T]]:
    """Yield the values in parts that fit into the IN clause of one statement."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
