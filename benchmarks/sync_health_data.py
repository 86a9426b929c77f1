"""A log of scheduled fetches as sync attempts, so that the product's own code can be judged on it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, STATUS_COLUMNS, compiled
from crewflow_assets.sync_health.features import columns_of, feature_rows

FILE = "fetch_log.parquet"
NEEDED = ("series_id", "host", "timestamp", "ok", "status_code", "latency_ms", "error_type", "retry_after_s")
USUAL_RUNS = 14
LEAD_MINUTES = 5
"""Each fetch is described this long before its usual moment, since the order within a run varies by minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Every fetch, oldest run first: features, whether it failed, what it belongs to, and when its run began."""

    rows: NDArray[np.float32]
    failed: NDArray[np.float64]
    endpoint: NDArray[np.object_]
    host: NDArray[np.object_]
    micros: NDArray[np.float64]
    in_test: NDArray[np.bool_]


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


def read_log(file: Path) -> Log:
    """Read a log and describe each fetch by what went before it.

    A run's fetches share their ``timestamp``, when the run began. Where the log tells when each was made
    (``fetch_time``), a fetch is placed at its usual distance from the beginning, the median over the last 14 runs.
    Its own ``fetch_time`` is not used: it is missing where no answer came, so it would give the outcome away.

    Raises:
        ValueError: a column is missing.
    """
    import duckdb
    import pyarrow.parquet as pq

    columns = pq.read_schema(file).names
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ValueError(f"{file} lacks the column {missing[0]!r}; it needs {', '.join(NEEDED)}")
    offset = "epoch(fetch_time - timestamp)" if "fetch_time" in columns else "0"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(file)).create_view("log")
        connection.execute(
            f"""
            CREATE TEMP TABLE placed AS SELECT *, coalesce(median({offset}) FILTER ({offset} >= 0) OVER (
                PARTITION BY series_id ORDER BY timestamp ROWS BETWEEN {USUAL_RUNS} PRECEDING AND 1 PRECEDING
            ), 0) AS usual FROM log
            """
        )
        given = {
            "event_id": "series_id || '@' || timestamp",
            "company_id": "''",
            "integration_id": "series_id",
            "system": "host",
            "occurred_at": "timezone('UTC', timestamp + usual * INTERVAL 1 second)",
            "ok": "ok",
            "latency_ms": "latency_ms",
            "status_code": "status_code",
            "error_class": "error_type",
            "network_latency_ms": "NULL",
            "calls": "1",
            "calls_left": "NULL",
            "calls_limit": "NULL",
            "rate_limit_hits": "coalesce(status_code = 429, false)",
            "retry_after_seconds": "retry_after_s",
            "records_failed": "0",
            "interval_minutes": "1440",
            "lead_minutes": f"if(usual > 0, {LEAD_MINUTES}, 0)",
        }
        types = {"string": "VARCHAR", "float64": "DOUBLE", "int64": "BIGINT", "boolean": "BOOLEAN"}
        selected = ", ".join(
            f'CAST({given[name]} AS {types.get(kind, "TIMESTAMPTZ")}) AS "{name}"'
            for name, kind in ATTEMPT_COLUMNS.items()
        )
        connection.execute(f"CREATE TEMP VIEW attempts AS SELECT {selected} FROM placed")
        nothing = ", ".join(
            f'CAST(NULL AS {types.get(kind, "TIMESTAMPTZ")}) AS "{name}"' for name, kind in STATUS_COLUMNS.items()
        )
        connection.execute(f"CREATE TEMP VIEW statuses AS SELECT {nothing} WHERE false")
        connection.execute(f"CREATE TEMP TABLE described AS {compiled('history')}")
        table = connection.sql(
            """
            SELECT d.*, epoch_us(p.timestamp) AS run,
                p.timestamp > (SELECT max(timestamp) FROM log) - INTERVAL 3 month AS in_test
            FROM described d JOIN placed p ON d.event_id = p.series_id || '@' || p.timestamp
            ORDER BY p.timestamp, p.series_id
            """
        ).to_arrow_table()
    columns_found = columns_of(table)
    return Log(
        rows=feature_rows(columns_found),
        failed=1 - columns_found["ok"],
        endpoint=table["integration_id"].to_numpy(),
        host=table["system"].to_numpy(),
        micros=columns_found["run"],
        in_test=columns_found["in_test"] == 1,
    )
