"""The attempts of the last weeks, in memory: read from the lake once, then kept up to date from the inbox.

So a prediction sees an event as soon as it is posted, and costs no scan of the lake. One copy a process and
installation; threads share it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.lake.events import COMMIT_MARGIN, DAYS, folder_of
from crewflow_assets.lake.inbox import EVENTS, Inbox, Turn
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import connected
from crewflow_assets.store.tables import Event
from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, DUE_COLUMNS, STATUS_COLUMNS, due_described
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.measures import MEMORY_ATTEMPTS, MEMORY_DAYS

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

KEPT_DAYS = 35
"""Measures over attempts need so many days of an integration that syncs once a day."""
AROUND = timedelta(hours=2)
"""Attempts of others count for an hour from when their outcome was known."""
KINDS = {"sync_attempt": ATTEMPT_COLUMNS, "api_status": STATUS_COLUMNS}
ROWS_AT_ONCE = 20_000
TYPES = {"string": "VARCHAR", "boolean": "BOOLEAN", "float64": "DOUBLE", "int64": "BIGINT"}


def sql_type(kind: str) -> str:
    """Return DuckDB's name of a column's type."""
    return TYPES.get(kind, "TIMESTAMPTZ")


def literal(moment: datetime) -> str:
    """Return a moment as DuckDB reads it."""
    return f"TIMESTAMPTZ '{moment.astimezone(UTC).isoformat()}'"


def newest_before(moment: datetime, table: str = "sync_attempt", columns: str = "s.*") -> str:
    """Return the query for the last attempt of each integration before a moment, from a table of attempts."""
    return (
        f"SELECT {columns} FROM {table} AS s SEMI JOIN (SELECT arg_max(rowid, (occurred_at, event_id)) AS newest "
        f"FROM {table} WHERE occurred_at < {literal(moment)} GROUP BY company_id, integration_id) AS n "
        "ON s.rowid = n.newest"
    )


class Recent:
    """Recent events of one installation."""

    def __init__(self) -> None:
        import duckdb

        self._connection = duckdb.connect(config={"threads": 1})
        self._turn = Turn()
        self._begin: datetime | None = None
        self._inbox = Inbox(tuple(KINDS))
        self._in_doubt = True
        """What was read may hold events that are found again, until the inbox was taken up once after it."""
        self._versions: Counter[Key | None] = Counter()
        self._loads = 0

    def refresh(self, at: datetime) -> None:
        """Take up what was posted since the last time; begin anew where an earlier moment is asked for."""
        with self._turn.taken():
            begin = at - timedelta(days=KEPT_DAYS)
            if self._begin is None or begin < self._begin or begin > self._begin + timedelta(days=KEPT_DAYS):
                try:
                    self._load(begin)
                except BaseException:
                    self._begin = None  # what was read so far is no beginning
                    raise
            try:
                if self._inbox.look(self._take_up):
                    self._in_doubt = False
            except BaseException:
                self._in_doubt = True  # some of it may be there, and is found again
                raise

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Let nothing be taken up or read anew meanwhile."""
        with self._turn.taken():
            yield

    @contextmanager
    def connected(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open a connection on all that is known."""
        cursor = self._connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def opened(self) -> "duckdb.DuckDBPyConnection":
        """Return a connection on all that is known, for its caller to keep."""
        return self._connection.cursor()

    @contextmanager
    def cursor(self, at: datetime) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open a connection with the views ``seen`` and ``statuses``: what happened before a moment.

        It is within a transaction, so that what is taken up or read anew meanwhile changes nothing of what it sees.
        """
        with self.connected() as cursor:
            cursor.begin()
            moment = literal(at)
            for view, kind in (("seen", "sync_attempt"), ("statuses", "api_status")):
                columns = ", ".join(f'"{name}"' for name in KINDS[kind] if name != "lead_minutes")
                lead = ", CAST(NULL AS DOUBLE) AS lead_minutes" if "lead_minutes" in KINDS[kind] else ""
                cursor.execute(
                    f"CREATE TEMP VIEW {view} AS SELECT {columns}{lead} FROM {kind} WHERE occurred_at < {moment}"
                )
            yield cursor

    def described(self, cursor: "duckdb.DuckDBPyConnection", due: "pa.Table", at: datetime) -> "pa.Table":
        """Describe syncs that are due, of ``DUE_COLUMNS``."""
        cursor.register("due", due.select(list(DUE_COLUMNS)))
        cursor.execute("CREATE TEMP VIEW attempts AS FROM seen")
        since = at - AROUND
        cursor.execute(
            f"CREATE TEMP TABLE around AS FROM seen WHERE occurred_at >= {literal(since)} UNION ALL BY NAME "
            f"SELECT * EXCLUDE (received_at) FROM ({newest_before(since)})"
        )
        return due_described(cursor)

    def version(self, key: Key | None = None) -> tuple[int, int]:
        """Return numbers that change with what is known of an integration; without one, of anything at all."""
        return self._loads, self._versions[key]

    def _load(self, begin: datetime) -> None:
        """Put what ``_read_anew`` finds in the place of what was there, all at once or not at all."""
        self._connection.begin()
        try:
            self._read_anew(begin)
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()
        self._versions.clear()
        self._loads += 1

    def _read_anew(self, begin: datetime) -> None:
        """Read the lake from a moment on, without what no measure looks at, and what the inbox has beyond it."""
        self._begin, self._in_doubt = begin, True
        self._inbox.begin()
        for kind, columns in KINDS.items():
            names = [name for name in columns if name != "lead_minutes"]
            declared = ", ".join(f'"{name}" {sql_type(columns[name])}' for name in names)
            extra = "" if "company_id" in columns else ", event_id VARCHAR, company_id VARCHAR"
            self._connection.execute(f"CREATE OR REPLACE TABLE {kind} ({declared}{extra}, received_at TIMESTAMPTZ)")
            days = sorted(folder_of(kind).glob(DAYS))
            wanted = [*names, *(["event_id", "company_id"] if extra else []), "received_at"]
            if kind == "sync_attempt":
                at = begin + timedelta(days=KEPT_DAYS)
                lately = at - timedelta(days=MEMORY_DAYS + 1)
                whose = "company_id, integration_id"  # together, so that reading one's attempts skips the others'
                self._read(kind, wanted, [day for day in days if _day_of(day) >= lately.date()], f"ORDER BY {whose}")
                older = [day for day in days if begin.date() <= _day_of(day) < lately.date()]
                rest = f"ANTI JOIN ({_frequent(at)}) USING ({whose}) ORDER BY {whose}"
                self._read(kind, wanted, older, rest)
            else:
                self._read(kind, wanted, days)
            [(newest,)] = self._connection.execute(f"SELECT max(received_at) FROM {kind}").fetchall()
            since = EVENTS.where(Event.kind == kind)
            if newest is not None:
                since = since.where(Event.received_at >= newest - COMMIT_MARGIN)
            with connected() as connection:
                for rows in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(since).partitions():
                    self._add(kind, rows)

    def _read(self, kind: str, names: Sequence[str], days: Sequence[Path], rest: str = "") -> None:
        """Read columns of days of the lake; ``rest`` of the query says which rows, and in which order."""
        if days:
            selected = ", ".join(f'"{name}"' for name in names)
            self._connection.execute(
                f"INSERT INTO {kind} BY NAME "
                f"SELECT {selected} FROM read_parquet($files, union_by_name = true) {rest}",
                {"files": [str(day) for day in days]},
            )

    def _take_up(self, rows: Sequence[Any]) -> None:
        for kind in KINDS:
            self._add(kind, [row for row in rows if row.kind == kind])

    def _add(self, kind: str, rows: Sequence[Any]) -> None:
        import pyarrow as pa

        if kind == "sync_attempt":
            rows = [row for row in rows if self._begin is not None and row.occurred_at >= self._begin]
        if not rows:
            return
        self._versions.update({None, *((row.company_id, row.payload.get("integration_id")) for row in rows)})
        columns = KINDS[kind]
        names = [name for name in columns if name != "lead_minutes" and name in PAYLOADS[kind].model_fields]
        defaults = {name: PAYLOADS[kind].model_fields[name].get_default() for name in names}
        defaults = {name: value if isinstance(value, int) else None for name, value in defaults.items()}
        moment = pa.timestamp("us", tz="UTC")
        values: dict[str, pa.Array] = {
            "event_id": pa.array([row.event_id for row in rows], pa.string()),
            "company_id": pa.array([row.company_id for row in rows], pa.string()),
            "occurred_at": pa.array([row.occurred_at for row in rows], moment),
            "received_at": pa.array([row.received_at for row in rows], moment),
        }
        types = {"string": pa.string(), "boolean": pa.bool_(), "float64": pa.float64(), "int64": pa.int64()}
        for name in names:
            values[name] = pa.array([row.payload.get(name, defaults[name]) for row in rows], types[columns[name]])
        self._connection.register("fresh", pa.table(values))
        new = f"NOT EXISTS (SELECT 1 FROM {kind} k WHERE k.company_id = f.company_id AND k.event_id = f.event_id)"
        self._connection.execute(
            f"INSERT INTO {kind} BY NAME SELECT * FROM fresh f" + (f" WHERE {new}" if self._in_doubt else "")
        )
        self._connection.unregister("fresh")


def _day_of(file: Path) -> date:
    return date.fromisoformat(file.parent.name.removeprefix("day="))


def _frequent(at: datetime) -> str:
    """Select integrations of which measures at a moment, or later, need nothing from before the last days.

    These days hold more attempts than measures look at, and one from before: it says whether the outcome changed.
    """
    since = literal(at - timedelta(days=MEMORY_DAYS))
    lately = f"count(*) FILTER (occurred_at >= {since} AND occurred_at < {literal(at)})"
    return (
        "SELECT company_id, integration_id FROM sync_attempt GROUP BY ALL "
        f"HAVING {lately} > {MEMORY_ATTEMPTS + 1} AND min(occurred_at) < {since}"
    )


@lru_cache(maxsize=2)
def _recent(_url: str, _root: str) -> Recent:
    return Recent()


def recent() -> Recent:
    """Return the one copy of this process and installation."""
    settings = get_settings()
    return _recent(settings.sqlalchemy_url, str(settings.root))
