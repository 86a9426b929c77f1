"""The feature table and the model's life: from the lake to figures."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from crewflow_assets.errors import NotReadyError
from crewflow_assets.evaluation.promotion import check_gates, gain
from crewflow_assets.lake.columns import event_schema
from crewflow_assets.lake.events import folder_of
from crewflow_assets.sync_health.features import FEATURES
from crewflow_assets.sync_health.lifecycle import SyncHealth, test_rows, training_rows
from crewflow_assets.sync_health.model_spec import SYNC_HEALTH
from crewflow_assets.sync_health.table import feature_table
from tests.sync_health.syncs import BEGIN, history

test_rows.__test__ = False  # type: ignore[attr-defined]  # a function of the product, no test
END = BEGIN + timedelta(days=16)


def write_lake(rows: list[dict[str, Any]]) -> None:
    """Write days of sync attempts as ``lake.write_days`` does."""
    schema = event_schema("sync_attempt")
    for day in {row["occurred_at"].date() for row in rows}:
        folder = folder_of("sync_attempt") / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        mine = [row | {"received_at": row["occurred_at"]} for row in rows if row["occurred_at"].date() == day]
        import pyarrow as pa

        pq.write_table(
            pa.Table.from_pylist([{n: r.get(n) for n in schema.names} for r in mine], schema),
            folder / "events.parquet",
        )


def test_an_empty_lake_is_named(home: Any) -> None:
    with pytest.raises(NotReadyError, match="the lake holds no sync_attempt events"):
        feature_table(END)


def test_a_late_event_is_taken_up_when_its_day_is_written_again(home: Any) -> None:
    rows = history(seed=2, integrations=4, days=6)
    late = rows.pop(len(rows) // 2)
    write_lake(rows)
    before = feature_table(END)
    write_lake(sorted([*rows, late], key=lambda row: row["occurred_at"]))
    after = feature_table(END)
    assert len(after) == len(before) + 1
    following = after["occurred_at"] > late["occurred_at"]
    earlier = ~following & (after["occurred_at"] != late["occurred_at"])
    np.testing.assert_array_equal(after[earlier][list(FEATURES)], before[: earlier.sum()][list(FEATURES)])


def test_the_life_of_the_model(home: Any) -> None:
    write_lake(history(seed=6, integrations=24, days=16))
    code = SyncHealth()
    table = code.build_features(END)
    train, test = training_rows(table), test_rows(table)
    assert not set(train["entity"]) & set(test[test["fold"] == "test"]["entity"])
    assert train["occurred_at"].max() < test["occurred_at"].min()
    predictor = code.fit(table, seed=7)
    baselines = code.baselines(table, seed=7)
    found = code.evaluate(predictor, baselines, table)
    assert {gate.figure for gate in SYNC_HEALTH.gates} <= {figure.name for figure in found.figures}
    assert set(SYNC_HEALTH.headline) <= {figure.name for figure in found.figures}
    assert len(check_gates(SYNC_HEALTH.gates, found)) == len(SYNC_HEALTH.gates)
    area = found.figure("live_pr_auc")
    assert area.value is not None
    assert area.value > 0.5
    assert {"live_reliability", "live_precision_recall", "unseen_live_reliability"} <= set(found.plots)
    ours, other = (code.row_scores(one, table) for one in (predictor, baselines["rolling rate"]))
    assert gain(ours, other).value > 0
    assert len(ours) == area.n, "what stands in is chosen on the rows of the headline"


def test_sync_health_is_trained_daily() -> None:
    assert SYNC_HEALTH.retrain_cron == "30 2 * * *"
