"""A log of scheduled fetches as sync attempts, so that the product's own code can be judged on it."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.fetch_log import place_fetches
from crewflow_assets.arrays import Bools, Floats, Objects, Singles
from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, STATUS_COLUMNS, compiled
from crewflow_assets.sync_health.features import columns_of, feature_rows

LEAD_MINUTES = 5
"""Each fetch is described this long before its usual moment, since the order within a run varies by minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Every fetch, oldest run first: features, whether it failed, its host, and when its run began."""

    rows: Singles
    failed: Floats
    host: Objects
    micros: Floats
    in_test: Bools


def read_log(file: Path) -> Log:
    """Read a log and describe each fetch, placed at its usual moment, by what went before it.

    Raises:
        ValueError: a column is missing.
    """
    import duckdb

    with duckdb.connect() as connection:
        place_fetches(connection, file)
        given = {
            "event_id": "series_id || '@' || timestamp",
            "company_id": "''",
            "integration_id": "series_id",
            "system": "host",
            "occurred_at": "occurred_at",
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
        host=table["system"].to_numpy(),
        micros=columns_found["run"],
        in_test=columns_found["in_test"] == 1,
    )
