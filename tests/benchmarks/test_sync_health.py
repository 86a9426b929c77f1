"""The sync health benchmark on a small made-up log: fields as promised, and no way for an outcome to leak."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks.sync_health import app
from benchmarks.sync_health_data import read_log

FIELDS = ["rows", "method", "n", "base_rate", "pr_auc", "brier", "ece", "recall_at_p70", "recall_at_p50"]


def made_up(nights: int = 300, endpoints: int = 24, *, fetch_time: bool = True) -> pa.Table:
    random = np.random.default_rng(0)
    begin = datetime(2022, 1, 1)  # noqa: DTZ001  the log's moments are UTC without saying so
    failing = np.zeros(endpoints, bool)
    rows = []
    for night in range(nights):
        run = begin + timedelta(days=night, seconds=float(random.integers(0, 60)))
        host_down = random.random(endpoints // 4) < 0.02
        for endpoint in range(endpoints):
            likely = 0.8 if failing[endpoint] else 0.01
            failing[endpoint] = random.random() < max(likely, 0.9 * host_down[endpoint // 4])
            ok = not failing[endpoint]
            gone = not ok and random.random() < 0.5
            rows.append(
                {
                    "series_id": f"s{endpoint}",
                    "host": f"h{endpoint // 4}",
                    "timestamp": run,
                    "fetch_time": None if gone else run + timedelta(seconds=60.0 * endpoint),
                    "ok": ok,
                    "status_code": 200 if ok else None if gone else 503,
                    "latency_ms": 800,
                    "error_type": None if ok else "connection_error" if gone else "http_5xx",
                    "retry_after_s": None,
                }
            )
    types = {"timestamp": pa.timestamp("us"), "fetch_time": pa.timestamp("us")}
    names = [name for name in rows[0] if fetch_time or name != "fetch_time"]
    kinds = {"ok": pa.bool_(), "status_code": pa.int16(), "latency_ms": pa.int32(), "retry_after_s": pa.int32()}
    schema = pa.schema([(name, types.get(name, kinds.get(name, pa.string()))) for name in names])
    return pa.Table.from_pylist([{name: row[name] for name in names} for row in rows], schema)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pq.write_table(made_up(), tmp_path / "fetch_log.parquet")
    return tmp_path


def test_one_record_a_row_set_and_method_with_exactly_the_promised_fields(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["--data", str(data), "--json", str(out), "--plots", str(tmp_path / "plots")])
    assert done.exit_code == 0, done.output
    records = json.loads(out.read_text())
    assert all(list(record) == FIELDS for record in records)
    methods = {record["method"] for record in records}
    assert len(records) == 3 * len(methods)
    assert [m for m in methods if m.startswith("ours")] == ["ours"]
    live = {record["method"]: record for record in records if record["rows"] == "live"}
    assert live["ours"]["brier"] < live["same as last"]["brier"]
    assert "| **ours** |" in done.output
    assert len(list((tmp_path / "plots").glob("*.png"))) == 6


def test_whether_an_answer_came_does_not_tell_the_outcome(data: Path) -> None:
    log = pq.read_table(data / "fetch_log.parquet")
    before = read_log(data / "fetch_log.parquet")
    column = log["fetch_time"].to_pylist()
    last = max(range(len(column)), key=lambda place: (log["timestamp"][place].as_py(), place))
    column[last] = None if column[last] else log["timestamp"][last].as_py()
    pq.write_table(
        log.set_column(log.column_names.index("fetch_time"), "fetch_time", pa.array(column, pa.timestamp("us"))),
        data / "fetch_log.parquet",
    )
    after = read_log(data / "fetch_log.parquet")
    np.testing.assert_array_equal(before.rows, after.rows)


def test_the_last_three_months_are_the_test(data: Path) -> None:
    log = read_log(data / "fetch_log.parquet")
    assert 0.29 < log.in_test.mean() < 0.32
    assert log.micros[~log.in_test].max() < log.micros[log.in_test].min()


def test_a_log_without_the_moments_of_fetches_is_read_too(tmp_path: Path) -> None:
    pq.write_table(made_up(nights=10, fetch_time=False), tmp_path / "fetch_log.parquet")
    assert len(read_log(tmp_path / "fetch_log.parquet").rows) == 240


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no fetch_log.parquet" in " ".join(done.output.split())
    pq.write_table(made_up(nights=2).drop_columns(["host"]), tmp_path / "fetch_log.parquet")
    done = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "lacks the column 'host'" in " ".join(done.output.split())
