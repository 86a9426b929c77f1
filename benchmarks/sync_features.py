"""How fast features are built, and in how much memory: `python -m benchmarks.sync_features [--events N ...]`.

Each case is a fresh process on made-up attempts of one month, one integration for each 2,880 attempts. DuckDB
computes every measure of the product; pandas ``groupby.rolling`` the five 24-hour sums of the PRD alone, which is all
that it can be asked for in reasonable time, at growing sizes until one does not fit into the time or memory given.
"""

import json
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from benchmarks.options import json_option

Engine = Literal["duckdb", "pandas"]

SIZES = (1_000_000, 10_000_000, 50_000_000)
A_MONTH = 2880
"""Attempts of an integration that syncs every quarter of an hour."""
SUMS = ("n", "failed", "latency_ms", "rate_limit_hits", "network_latency_ms")

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


def write_events(size: int, file: Path) -> None:
    """Write made-up attempts: 2,880 each of integrations of three systems; 2 % fail."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(
            f"""
            COPY (
                SELECT 'e' || i AS event_id, 'c-' || (i // {A_MONTH}) AS company_id, 'i-1' AS integration_id,
                    ['quickbooks', 'xero', 'sage'][1 + (i // {A_MONTH}) % 3] AS system,
                    TIMESTAMPTZ '2026-01-01 00:00:00+00' + ((i % {A_MONTH}) * 900 + hash(i) % 300) * INTERVAL 1 second
                        AS occurred_at,
                    hash(i + 1) % 100 >= 2 AS ok,
                    200.0 + hash(i + 2) % 2000 AS latency_ms,
                    CASE WHEN hash(i + 1) % 100 < 2 THEN 503 ELSE 200 END::BIGINT AS status_code,
                    CASE WHEN hash(i + 1) % 100 < 2 THEN 'server_error' END AS error_class,
                    20.0 + hash(i + 3) % 50 AS network_latency_ms,
                    (1 + hash(i + 4) % 9)::BIGINT AS calls,
                    (1000 - i % 900)::BIGINT AS calls_left, 1000::BIGINT AS calls_limit,
                    (hash(i + 5) % 50 = 0)::BIGINT AS rate_limit_hits,
                    NULL::DOUBLE AS retry_after_seconds, 0::BIGINT AS records_failed,
                    15.0::DOUBLE AS interval_minutes,
                    0.0::DOUBLE AS lead_minutes
                FROM range({size}) AS r(i)
            ) TO '{file}' (FORMAT parquet)
            """
        )


def build_on_duckdb(file: Path, folder: Path, *, threads: int, memory: str) -> int:
    """Describe every attempt as the product does, into Parquet; returns how many numbers a row has."""
    import ibis
    import pyarrow as pa

    from crewflow_assets.sync_health.events import STATUS_COLUMNS
    from crewflow_assets.sync_health.parts import history_in_parts

    connection = ibis.duckdb.connect(threads=threads, memory_limit=memory, temp_directory=str(folder / "spill"))
    attempts = connection.read_parquet(str(file))
    status = {"system": "xero", "occurred_at": datetime(2026, 1, 2, tzinfo=UTC), "status": "degraded"}
    statuses = ibis.memtable(pa.Table.from_pylist([status], ibis.schema(STATUS_COLUMNS).to_pyarrow()))
    numbers = 0
    for place, part in enumerate(history_in_parts(attempts, statuses)):
        part.to_parquet(folder / f"features-{place}.parquet")
        numbers = sum(kind.is_numeric() for kind in part.schema().types)
    return numbers


def build_on_pandas(file: Path, folder: Path) -> int:
    """Compute the five 24-hour sums before each attempt."""
    import pandas as pd

    columns = ["company_id", "occurred_at", "ok", "latency_ms", "rate_limit_hits", "network_latency_ms"]
    frame = pd.read_parquet(file, columns=columns)
    frame["n"] = 1
    frame["failed"] = (~frame["ok"]).astype(int)
    frame = frame.sort_values(["company_id", "occurred_at"]).set_index("occurred_at")
    found = frame.groupby("company_id")[list(SUMS)].rolling("24h", closed="left").sum()
    found.to_parquet(folder / "features.parquet")
    return len(SUMS)


def case(engine: Engine, name: str, threads: int, gigabytes: int) -> None:
    """Build once in this process and print seconds, CPU seconds, numbers a row, and the largest memory in MB."""
    file = Path(name)
    with TemporaryDirectory(dir=file.parent) as folder:
        began, cpu = perf_counter(), process_time()
        if engine == "duckdb":
            columns = build_on_duckdb(file, Path(folder), threads=threads, memory=f"{gigabytes}GB")
        else:
            resource.setrlimit(resource.RLIMIT_AS, (gigabytes * 1024**3,) * 2)
            columns = build_on_pandas(file, Path(folder))
        seconds, cpu_seconds = perf_counter() - began, process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "columns": columns, "peak_mb": peak}))


def measure(engine: Engine, size: int, file: Path, *, threads: int, gigabytes: int, limit: float) -> dict[str, Any]:
    """Run a case in a fresh process; ``seconds`` is None where it did not end in time or memory."""
    call = f"from benchmarks.sync_features import case; case({engine!r}, {str(file)!r}, {threads}, {gigabytes})"
    nothing = {"engine": engine, "events": size, "seconds": None, "events_per_second": None, "peak_mb": None}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", call], capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return nothing | {"why": f"not done in {limit:.0f} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return nothing | {"why": lines[-1][:200]}
    found = json.loads(done.stdout.splitlines()[-1])
    return {"engine": engine, "events": size, "events_per_second": size / found["seconds"], **found}


@app.command()
def main(
    events: Annotated[list[int], typer.Option(min=1, help="How many, in growing order.")] = list(SIZES),  # noqa: B006
    threads: Annotated[int, typer.Option(min=1, help="Threads of DuckDB.")] = 2,
    gigabytes: Annotated[int, typer.Option(min=1, help="Memory, beyond which DuckDB spills and pandas fails.")] = 12,
    limit: Annotated[float, typer.Option(min=1, help="Seconds that a case may take.")] = 7200,
    json_file: Annotated[Path | None, json_option("Write one record a case.")] = None,
) -> None:
    """Build features of growing numbers of events on DuckDB and on pandas."""
    records: list[dict[str, Any]] = []
    pandas_goes_on = True
    print("| events | engine | numbers a row | seconds | CPU seconds | events/s | events/CPU s | peak memory, MB |")
    print("|---|---|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for size in events:
            file = Path(folder) / "events.parquet"
            write_events(size, file)
            engines: list[Engine] = ["duckdb", "pandas"] if pandas_goes_on else ["duckdb"]
            for engine in engines:
                with console.status(f"{size:,} events on {engine}"):
                    record = measure(engine, size, file, threads=threads, gigabytes=gigabytes, limit=limit)
                records.append(record)
                pandas_goes_on = pandas_goes_on and (engine == "duckdb" or record["seconds"] is not None)
                _print(record)
            if json_file is not None:  # after each size, so that an interrupted run leaves what it has
                json_file.write_text(json.dumps(records, indent=1))
    _print_ratio(records)


def _print(record: dict[str, Any]) -> None:
    if record["seconds"] is None:
        print(f"| {record['events']:,} | {record['engine']} | – | {record['why']} | – | – | – | – |")
        return
    speed = record["events_per_second"]
    print(
        f"| {record['events']:,} | {record['engine']} | {record['columns']} | {record['seconds']:.1f} | "
        f"{record['cpu_seconds']:.1f} | {speed:,.0f} | {record['events'] / record['cpu_seconds']:,.0f} | "
        f"{record['peak_mb']:,.0f} |"
    )


def _print_ratio(records: list[dict[str, Any]]) -> None:
    """Compare at the largest size that pandas could do."""
    done = {(r["engine"], r["events"]): r for r in records if r["seconds"] is not None}
    sizes = [events for engine, events in done if engine == "pandas" and ("duckdb", events) in done]
    if not sizes:
        return
    ours, theirs = done["duckdb", max(sizes)], done["pandas", max(sizes)]
    numbers = (ours["columns"] / ours["cpu_seconds"]) / (theirs["columns"] / theirs["cpu_seconds"])
    print(
        f"\nAt {max(sizes):,} events DuckDB builds {ours['columns']} numbers a row in "
        f"{ours['cpu_seconds'] / theirs['cpu_seconds']:.1f} times the CPU time of pandas for {theirs['columns']}: "
        f"{numbers:.1f} times the numbers a CPU second, in {ours['peak_mb'] / theirs['peak_mb']:.1f} times the memory"
    )


if __name__ == "__main__":
    app()
