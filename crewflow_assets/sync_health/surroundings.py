"""What all integrations did in the last hours, in memory: read once, then kept up to date by what is new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crewflow_assets.arrays import Floats, Ints, Objects
from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, PREPARED, compiled
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.neighbours import COUNTS
from crewflow_assets.sync_health.recent import AROUND, Recent, literal, newest_before, sql_type

if TYPE_CHECKING:
    import duckdb


KEPT_LONGER = timedelta(minutes=30)
"""What lies before the last hours is dropped once in so long."""
OUTCOME = ("micros", "known_minute", *COUNTS)
_ID = ("company_id", "integration_id")
_READ = ", ".join(f'"{name}"' for name in ATTEMPT_COLUMNS if name != "lead_minutes")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Attempts or statuses, oldest first: their systems, and numbers that are NaN where there is nothing.

    Attempts say whose they are too.
    """

    systems: Objects
    columns: dict[str, Floats]
    keys: tuple[Objects, Objects] | None = None

    def of(self, key: Key) -> "Rows":
        """Return the attempts of one integration."""
        assert self.keys is not None
        mine = np.flatnonzero((self.keys[0] == key[0]) & (self.keys[1] == key[1]))
        return Rows(self.systems[mine], {name: column[mine] for name, column in self.columns.items()})

    def only(self, names: Sequence[str]) -> "Rows":
        """Return them with some of their numbers alone, and without whose they are."""
        return Rows(self.systems, {name: self.columns[name] for name in names})

    def before(self, micros: float) -> int:
        """Return how many lie before a moment."""
        return int(np.searchsorted(self.columns["micros"], micros))


class Describing:
    """An expression over attempts on a connection of its own, planned once and filled anew each time.

    It is planned without DuckDB's optimizer, whose plan takes twice as long for some hundred rows.
    """

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._cursor: duckdb.DuckDBPyConnection | None = None

    def rows(self, query: str, parameters: Sequence[str] = ()) -> Rows:
        """Return the attempts that a query selects, with their ``PREPARED`` columns; oldest first."""
        cursor = self._cursor or self._prepared()
        cursor.execute("DELETE FROM attempts")
        cursor.execute(f"INSERT INTO attempts BY NAME {query}", parameters)
        return _rows(cursor.execute("EXECUTE described").fetchnumpy(), PREPARED)

    def _prepared(self) -> "duckdb.DuckDBPyConnection":
        cursor = self._recent.opened()
        declared = ", ".join(f'"{name}" {sql_type(kind)}' for name, kind in ATTEMPT_COLUMNS.items())
        cursor.execute(f"CREATE TEMP TABLE attempts ({declared})")
        cursor.execute("PRAGMA disable_optimizer")
        cursor.execute(f"PREPARE described AS {compiled('prepared')}")
        cursor.execute("PRAGMA enable_optimizer")
        self._cursor = cursor
        return cursor


def _rows(found: Mapping[str, Any], names: Sequence[str]) -> Rows:
    columns = {name: np.ma.filled(np.ma.asarray(found[name]).astype(np.float64), np.nan) for name in names}
    text = {name: np.ma.filled(np.ma.asarray(found[name]), None) for name in ("system", *_ID) if name in found}
    return Rows(
        text["system"], columns, (text["company_id"], text["integration_id"]) if "company_id" in text else None
    )


class Surroundings:
    """The outcomes of all attempts since some hours before a moment, and all statuses.

    New events cost what they are: the attempts of their integrations are described again, from a table of the last
    hours that stands beside all attempts. A late event is one among them, whenever it happened.
    """

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._loads = -1
        self._begin: datetime | None = None
        self._newest = -1
        """Of the stored attempts, those up to this row are in the table."""
        self._numbers: dict[Key, int] = {}
        self._describing = Describing(recent)
        self._who: Ints = np.empty(0, np.int64)
        self._around = Rows(np.empty(0, object), {})
        self._statuses: tuple[int, Rows] | None = None

    def at(self, moment: datetime, asked: Sequence[Key] = ()) -> tuple[Rows, Rows, Rows]:
        """Return what is known at a moment; ``Recent`` must stay ``unchanged`` meanwhile.

        Returns:
            The attempts of all integrations since some hours before at least, all statuses, and all attempts of the
            integrations asked for, which are described together with what is new.
        """
        try:
            return self._at(moment, asked)
        except BaseException:
            self._begin = None  # what was taken up in part is read anew
            raise

    def _at(self, moment: datetime, asked: Sequence[Key]) -> tuple[Rows, Rows, Rows]:
        since = moment - AROUND
        with self._recent.connected() as cursor:
            loads = self._recent.version()[0]
            if self._begin is None or loads != self._loads or since < self._begin:
                self._statuses = None
                self._read(cursor, since)
                self._loads = loads
            elif since - self._begin > KEPT_LONGER:
                self._drop(cursor, since)
            own = self._take_up(cursor, asked)
            return self._around, self._all_statuses(cursor), own

    def _read(self, cursor: "duckdb.DuckDBPyConnection", since: datetime) -> None:
        cursor.begin()
        cursor.execute(
            "CREATE OR REPLACE TABLE lately AS SELECT rowid AS place, * FROM sync_attempt "
            f"WHERE occurred_at >= {literal(since)} UNION ALL " + newest_before(since, columns="s.rowid, s.*")
        )
        [(newest,)] = cursor.execute("SELECT max(rowid) FROM sync_attempt").fetchall()
        cursor.commit()
        self._begin, self._newest = since, -1 if newest is None else newest
        found = self._describing.rows(f"SELECT {_READ} FROM lately")
        self._numbers = {}
        self._who, self._around = self._numbered(found), found.only(OUTCOME)

    def _take_up(self, cursor: "duckdb.DuckDBPyConnection", asked: Sequence[Key]) -> Rows:
        """Add attempts that are not there yet; describe those of their integrations again, and those asked for."""
        fresh = f"SELECT company_id, integration_id FROM lately WHERE place > {self._newest}"
        added = f"INSERT INTO lately SELECT rowid, * FROM sync_attempt WHERE rowid > {self._newest} RETURNING place"
        newest = max((place for (place,) in cursor.execute(added).fetchall()), default=None)
        either = " OR ".join(["(company_id = ? AND integration_id = ?)"] * len(asked))
        parts = [f"SELECT {_READ} FROM sync_attempt WHERE {either}"] if asked else []
        if newest is not None:
            others = f" WHERE NOT ({either})" if asked else ""
            of_fresh = f"(SELECT * FROM lately SEMI JOIN ({fresh}) USING (company_id, integration_id))"
            parts.append(f"SELECT {_READ} FROM {of_fresh}{others}")
        if not parts:
            return Rows(np.empty(0, object), {})
        names = [name for key in asked for name in key]
        found = self._describing.rows(" UNION ALL BY NAME ".join(parts), names * len(parts) if asked else ())
        if newest is not None:
            self._newest = newest
            self._replace(found)
        return found

    def _replace(self, found: Rows) -> None:
        """Put attempts in the place of all others of their integrations."""
        assert self._begin is not None
        theirs = self._numbered(found)
        kept = np.flatnonzero(~np.isin(self._who, theirs))
        inside = np.flatnonzero(found.columns["micros"] >= self._begin.timestamp() * 1e6)
        micros = np.concatenate([self._around.columns["micros"][kept], found.columns["micros"][inside]])
        order = np.argsort(micros, kind="stable")
        self._who = np.concatenate([self._who[kept], theirs[inside]])[order]
        systems = np.concatenate([self._around.systems[kept], found.systems[inside]])[order]
        columns = {
            name: np.concatenate([self._around.columns[name][kept], found.columns[name][inside]])[order]
            for name in OUTCOME
        }
        self._around = Rows(systems, columns)

    def _drop(self, cursor: "duckdb.DuckDBPyConnection", since: datetime) -> None:
        """Drop what lies before, but for the last attempt of each integration, beside which the next one is seen."""
        cursor.execute(
            f"CREATE OR REPLACE TABLE lately AS SELECT * FROM lately WHERE occurred_at >= {literal(since)} "
            "UNION ALL " + newest_before(since, "lately")
        )
        self._begin = since
        first = self._around.before(since.timestamp() * 1e6)
        self._who = self._who[first:]
        columns = {name: column[first:] for name, column in self._around.columns.items()}
        self._around = Rows(self._around.systems[first:], columns)

    def _numbered(self, rows: Rows) -> Ints:
        assert rows.keys is not None
        numbers = self._numbers
        pairs = zip(*rows.keys, strict=True)
        return np.array([numbers.setdefault(key, len(numbers)) for key in pairs], dtype=np.int64)

    def _all_statuses(self, cursor: "duckdb.DuckDBPyConnection") -> Rows:
        [(count,)] = cursor.execute("SELECT count(*) FROM api_status").fetchall()
        if self._statuses is None or self._statuses[0] != count:
            cursor.execute("CREATE OR REPLACE TEMP VIEW statuses AS FROM api_status")
            found = cursor.execute(f"SELECT * FROM ({compiled('statuses')}) ORDER BY micros").fetchnumpy()
            self._statuses = count, _rows(found, ("micros", "minute", "status"))
        return self._statuses[1]
