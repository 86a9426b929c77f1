"""A public log of scheduled fetches, each placed at its usual moment: what two benchmarks read."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FILE = "fetch_log.parquet"
NEEDED = ("series_id", "host", "timestamp", "ok", "status_code", "latency_ms", "error_type", "retry_after_s")
USUAL_RUNS = 14


def find_log(data: Path) -> Path:
    """Return the log in a directory: ``fetch_log.parquet``, or the only Parquet file.

    Raises:
        FileNotFoundError: there is none.
    """
    for candidate in (data / FILE, data / "sync_health" / FILE):
        if candidate.exists():
            return candidate
    others = sorted(data.glob("*.parquet"))
    if len(others) == 1:
        return others[0]
    raise FileNotFoundError(f"{data} holds no {FILE}; give the directory that does")


def place_fetches(connection: "DuckDBPyConnection", file: Path) -> None:
    """Make a table ``placed`` of the log's columns, with ``usual`` (seconds) and ``occurred_at`` (UTC) besides.

    A run's fetches share their ``timestamp``, when the run began. Where the log tells when each was made
    (``fetch_time``), a fetch is placed at its usual distance from the beginning, the median over the last 14 runs.
    Its own ``fetch_time`` is not used: it is missing where no answer came, so it would give the outcome away.

    Raises:
        ValueError: a column is missing.
    """
    import pyarrow.parquet as pq

    columns = pq.read_schema(file).names
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ValueError(f"{file} lacks the column {missing[0]!r}; it needs {', '.join(NEEDED)}")
    offset = "epoch(fetch_time - timestamp)" if "fetch_time" in columns else "0"
    connection.execute("SET TimeZone = 'UTC'")
    connection.read_parquet(str(file)).create_view("log")
    connection.execute(
        f"""
        CREATE TEMP TABLE placed AS
        SELECT *, timezone('UTC', timestamp + usual * INTERVAL 1 second) AS occurred_at FROM (
            SELECT *, coalesce(median({offset}) FILTER ({offset} >= 0) OVER (
                PARTITION BY series_id ORDER BY timestamp ROWS BETWEEN {USUAL_RUNS} PRECEDING AND 1 PRECEDING
            ), 0) AS usual FROM log
        )
        """
    )
