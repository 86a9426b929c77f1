"""The retry benchmark on a small made-up log and list: fields as promised, and no outcome that leaks."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks.retry import app
from benchmarks.retry_bodies import read_bodies, request_of
from benchmarks.retry_data import LIVE_UP_TO, read_outages, read_retries
from tests.benchmarks.test_sync_health import made_up

FIGURES = ["pr_auc", "brier", "ece"]
FIELDS = ["rows", "method", "n", "base_rate", *[name + end for name in FIGURES for end in ("", "_low", "_high")]]
ROWS = ["live", "first failures", "outages from their beginning", "outages still on after 15 minutes"]


def made_up_outages(count: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(1)
    gone = random.random(count) < 0.5
    minutes = np.exp(random.normal(np.where(gone, 2, 4), 1))
    begin = datetime(2022, 1, 1)  # noqa: DTZ001  the list's moments are UTC without saying so
    return pd.DataFrame(
        {
            "series": [f"site-{n % 12}::page" for n in range(count)],
            "down_at_utc": [begin + timedelta(hours=7 * n) for n in range(count)],
            "duration_min": minutes,
            "error_type": np.where(gone, "no_response", "http_5xx"),
            "status_code": np.where(gone, 0, 503),
            "latency_ms_at_down": 900,
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pq.write_table(made_up(nights=250), tmp_path / "fetch_log.parquet")
    made_up_outages().to_csv(tmp_path / "outages.csv", index=False)
    return tmp_path


def test_one_record_a_row_set_and_method_with_exactly_the_promised_fields(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["--data", str(data), "--json", str(out), "--plots", str(tmp_path / "plots")])
    assert done.exit_code == 0, done.output
    records = json.loads(out.read_text())
    assert all(list(record) == FIELDS for record in records)
    assert list(dict.fromkeys(record["rows"] for record in records)) == ROWS
    for rows in ROWS:
        methods = [record["method"] for record in records if record["rows"] == rows]
        assert methods[0] == "ours"
        assert len(methods) == len(set(methods)) >= 3
        assert len({record["n"] for record in records if record["rows"] == rows}) == 1
    assert {"error class", "class and attempts"} <= {
        record["method"] for record in records if record["rows"] == "live"
    }
    assert "| **ours** |" in done.output
    assert len(list((tmp_path / "plots").glob("*.png"))) == 2 * len(ROWS) + 1


def test_the_label_is_the_next_scheduled_attempt(data: Path) -> None:
    log = pq.read_table(data / "fetch_log.parquet").to_pandas().sort_values(["series_id", "timestamp"])
    following = log.groupby("series_id")["ok"].shift(-1)
    fails = ~log["ok"] & following.notna()
    found = read_retries(data)
    assert len(found) <= fails.sum()
    assert found["attempts"].max() <= LIVE_UP_TO
    first = found[found["attempts"] == 1]
    before = log.groupby("series_id")["ok"].shift(1)
    onset = fails & before.fillna(value=True).astype(bool)
    assert len(first) == onset.sum()
    assert first["label"].mean() == pytest.approx(following[onset].astype(float).mean())


def test_the_last_three_months_are_the_test(data: Path) -> None:
    found = read_retries(data)
    assert 0.25 < found["in_test"].mean() < 0.5
    assert found.loc[~found["in_test"], "decided_at"].max() < found.loc[found["in_test"], "decided_at"].min()


def test_an_outage_is_asked_about_again_only_while_it_goes_on(data: Path) -> None:
    outages = read_outages(data)
    listed = made_up_outages()
    asked = outages.table.groupby("attempts").size()
    assert asked[1] == 14 * len(listed)
    assert asked[2] == 14 * (listed["duration_min"] > 15).sum()
    later = (outages.table["attempts"] == 2).to_numpy()
    over = outages.table["delay_seconds"].to_numpy() >= 60 * outages.minutes
    assert (outages.table["label"].to_numpy().astype(bool) == over).all()
    assert (outages.table["since_first_failure"][later] == 900).all()


def test_missing_files_and_columns_are_named(data: Path, tmp_path: Path) -> None:
    (data / "outages.csv").unlink()
    done = CliRunner().invoke(app, ["--data", str(data)])
    assert done.exit_code == 2
    assert "holds no outages.csv" in " ".join(done.output.split())
    made_up_outages().drop(columns=["duration_min"]).to_csv(data / "outages.csv", index=False)
    done = CliRunner().invoke(app, ["--data", str(data)])
    assert done.exit_code == 2
    assert "lacks the column 'duration_min'" in " ".join(done.output.split())


def test_every_listed_body_makes_a_request() -> None:
    rows = read_bodies()
    assert len(rows) >= 30
    assert all(row["source"] for row in rows)
    assert {request_of(row).integration_type for row in rows} == {"quickbooks", "xero", "sage"}
