"""What is logged comes back from either database as it was answered."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from sqlalchemy import Engine, select

from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Prediction
from serving.prediction_log import PredictionLog
from tests.serving.test_prediction_log import WITHIN, served, stored


def test_what_is_no_number_is_null_in_both_databases(store: Engine) -> None:
    log = PredictionLog()
    log.start()
    log.add([replace(served("p-1"), output={"said": "é", "score": float("nan"), "more": [float("inf"), 1.5]})])
    assert log.flush(within_seconds=WITHIN)
    log.stop()
    assert stored()["p-1"].output == {"said": "é", "score": None, "more": [None, 1.5]}


def test_a_row_comes_back_from_either_database_as_it_was_answered(store: Engine) -> None:
    log = PredictionLog()
    log.start()
    at = datetime(2026, 3, 2, 12, 0, 5, tzinfo=timezone(timedelta(hours=2)))  # no microseconds, another zone
    output = {
        "texts": ['a "quoted" \\ text', "\u2028"],
        "n": 3,
        "x": 1e-9,
        "none": None,
        "yes": True,
        "deep": {"a": []},
    }
    one = replace(served("p-1"), output=output, created_at=at, withheld=True, propensity=1, latency_ms=0)
    log.add([one, replace(one, prediction_id="p-2", output={}, withheld=False)])
    assert log.flush(within_seconds=WITHIN)
    log.stop()
    row = stored()["p-1"]
    assert (row.output, row.inputs, row.created_at) == (output, one.row()["inputs"], at)
    assert (row.withheld, row.propensity, row.latency_ms, row.company_id) == (True, 1.0, 0.0, None)
    assert (stored()["p-2"].output, stored()["p-2"].withheld) == ({}, False)
    with reading() as session:  # as moments that were written otherwise
        assert session.scalar(select(Prediction.id).where(Prediction.created_at == at, Prediction.withheld)) == "p-1"
