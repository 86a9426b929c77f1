"""A log of scheduled fetches as retries, and outages as probes, so that the product's own code is judged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.fetch_log import find_log, place_fetches
from crewflow_assets.arrays import Floats, Objects
from crewflow_assets.retry_strategy.delays import DELAYS
from crewflow_assets.retry_strategy.table import ATTEMPT_COLUMNS, RETRY_COLUMNS, as_table

OUTAGES = "outages.csv"
OUTAGE_COLUMNS = ("series", "down_at_utc", "duration_min", "error_type", "status_code", "latency_ms_at_down")
LIVE_UP_TO = 14
"""Failures in a row of an endpoint that counts as live."""
TEST_MONTHS = 3
STILL_DOWN = 15.0
"""Minutes after which an outage that goes on is asked about again."""


def find_outages(data: Path) -> Path:
    """Return the list of outages in a directory.

    Raises:
        FileNotFoundError: there is none.
    """
    for candidate in (data / OUTAGES, data / "sync_health" / OUTAGES):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{data} holds no {OUTAGES}; give the directory that does")


def read_retries(data: Path) -> pd.DataFrame:
    """Return the feature table of the log: one row for each failed fetch that was followed by a scheduled one.

    A series is a customer and its host an API, so that "the API's other customers" are the other series of the host.
    A run of failures is one call, each further fetch a retry of it, placed at its usual moment. Only live rows are
    returned; ``in_test`` marks the last three months, by when the failure was.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: a column is missing.
    """
    import duckdb

    with duckdb.connect() as connection:
        place_fetches(connection, find_log(data))
        connection.execute(
            """
            CREATE TEMP TABLE fetches AS SELECT *,
                sum(ok::INT) OVER w AS calls, lead(ok) OVER w AS next_ok, lead(occurred_at) OVER w AS next_at
            FROM placed WINDOW w AS (PARTITION BY series_id ORDER BY timestamp, occurred_at)
            """
        )
        retries = (
            connection.sql(
                f"""
            SELECT * FROM (
                SELECT series_id || '@' || timestamp AS event_id, series_id AS company_id, next_at AS occurred_at,
                    series_id AS integration_id, host AS system, series_id || '#' || calls AS call_id,
                    error_type AS error_class, status_code::DOUBLE AS status_code, latency_ms::DOUBLE AS latency_ms,
                    retry_after_s::DOUBLE AS retry_after_seconds, next_ok AS ok, timestamp AS run,
                    row_number() OVER (PARTITION BY series_id, calls ORDER BY timestamp, occurred_at) AS attempt,
                    epoch(next_at - occurred_at) AS delay_seconds
                FROM fetches WHERE NOT ok AND next_at IS NOT NULL
            ) WHERE attempt <= {LIVE_UP_TO} AND delay_seconds > 0
            """
            )
            .to_arrow_table()
            .to_pandas()
        )
        seen = (
            connection.sql(
                "SELECT series_id AS company_id, series_id AS integration_id, host AS system, occurred_at, ok, "
                "latency_ms::DOUBLE AS latency_ms FROM fetches"
            )
            .to_arrow_table()
            .to_pandas()
        )
    table = as_table(retries.reindex(columns=[*RETRY_COLUMNS]), seen.reindex(columns=list(ATTEMPT_COLUMNS)))
    decided = table["decided_at"]
    return table.assign(in_test=decided > decided.max() - pd.DateOffset(months=TEST_MONTHS))


@dataclass(frozen=True, slots=True, eq=False)
class Outages:
    """Outages as if each had been probed once at every delay of the grid, and the site of each row."""

    table: pd.DataFrame
    site: Objects
    minutes: Floats
    """How long each row's outage lasted."""


def read_outages(data: Path) -> Outages:
    """Return the outages, once as of their beginning and once as of 15 minutes later where they went on.

    Raises:
        FileNotFoundError: there is no list.
        ValueError: a column is missing.
    """
    file = find_outages(data)
    found = pd.read_csv(file)
    missing = [name for name in OUTAGE_COLUMNS if name not in found.columns]
    if missing:
        raise ValueError(f"{file} lacks the column {missing[0]!r}; it needs {', '.join(OUTAGE_COLUMNS)}")
    rows = []
    for number, one in enumerate(found.to_dict("records")):
        for attempt, passed in ((1, 0.0), (2, STILL_DOWN)):
            left = 60 * (float(one["duration_min"]) - passed)
            if left <= 0:
                continue
            began = pd.Timestamp(one["down_at_utc"], tz="UTC") + pd.Timedelta(minutes=passed)
            for place, delay in enumerate(DELAYS):
                rows.append(
                    {
                        "event_id": f"{number}-{attempt}-{place}",
                        "company_id": one["series"],
                        "integration_id": one["series"],
                        "system": "site",
                        "call_id": f"{number}-{attempt}-{place}",
                        "error_class": one["error_type"],
                        "status_code": one["status_code"] if one["status_code"] else np.nan,
                        "latency_ms": one["latency_ms_at_down"],
                        "attempt": attempt,
                        "delay_seconds": float(delay),
                        "ok": left <= delay,
                        "occurred_at": began + pd.Timedelta(seconds=float(delay)),
                        "minutes": left / 60,
                    }
                )
    probes = pd.DataFrame(rows)
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in ATTEMPT_COLUMNS})
    table = as_table(probes.reindex(columns=list(RETRY_COLUMNS)), empty)
    left_minutes = table["call"].map(dict(zip(probes["event_id"], probes["minutes"], strict=True))).to_numpy(float)
    # what a probe can know: the outage itself, not when in the day or how the others do
    table = table.assign(since_first_failure=np.where(table["attempts"] > 1, 60 * STILL_DOWN, 0.0))
    return Outages(table, table["entity"].to_numpy(object), left_minutes)
