"""The feature benchmark, at sizes that take a second."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmarks.sync_features import build_on_duckdb, build_on_pandas, write_events


def test_both_engines_find_the_same_sums(tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    write_events(6000, file)
    assert build_on_pandas(file, tmp_path) == 5
    theirs = pd.read_parquet(tmp_path / "features.parquet").reset_index()
    assert build_on_duckdb(file, tmp_path, threads=1, memory="1GB") > 90
    ours = pq.read_table(tmp_path / "features-0.parquet").to_pandas()
    both = ours.merge(theirs, on=["company_id", "occurred_at"])
    assert len(both) == 6000
    pairs = {"attempts_24h": "n", "failures_24h": "failed_y", "rate_limit_hits_24h": "rate_limit_hits"}
    for mine, other in pairs.items():
        assert (both[mine] == both[other].fillna(0)).all(), mine
    assert (both["latency_24h"] / 1000).sub(both["latency_ms"].fillna(0)).abs().max() < 1e-3
