"""What went before a sync: strictly before, the same for training and serving, and the same on every engine."""

import os
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, STATUS_COLUMNS, compiled, describe
from crewflow_assets.sync_health.features import COLUMN, FEATURES, columns_of, feature_rows
from crewflow_assets.sync_health.measures import MEASURES
from tests.sync_health.syncs import BEGIN, attempts, due, history, statuses, sync

STATUS = statuses((BEGIN + timedelta(days=3), "degraded"), (BEGIN + timedelta(days=4), "operational"))


def described(rows: list[dict[str, Any]], status: pa.Table = STATUS) -> dict[str, dict[str, Any]]:
    found = describe(attempts(rows), status).to_pylist()
    return {row["event_id"]: row for row in found}


def features_of(found: pa.Table) -> np.ndarray[Any, np.dtype[np.float32]]:
    return feature_rows(columns_of(found))


def test_serving_sees_what_training_saw_at_sampled_moments() -> None:
    rows = history(seed=3)
    everything = describe(attempts(rows), STATUS)
    trained = dict(zip(everything["event_id"].to_pylist(), features_of(everything), strict=True))
    leads = dict(zip(everything["event_id"].to_pylist(), everything["lead"].to_pylist(), strict=True))
    chosen = np.random.default_rng(0).choice(len(rows), 8, replace=False)
    for place in chosen:
        row = rows[place]
        lead = float(leads[row["event_id"]]) / 60e6
        at = row["occurred_at"] - timedelta(minutes=lead)
        before = [other for other in rows if other["occurred_at"] < at]
        served = features_of(describe(attempts(before), STATUS, due(row, row["occurred_at"], lead)))
        np.testing.assert_array_equal(served[0], trained[row["event_id"]], err_msg=row["event_id"])


BEFORE_THE_LAST = {
    "as many within two days as are looked at, and some before the day": [*range(-47, 0)],
    "the one before the day lies long before it": [-24 * 6, *(hours / 2 for hours in range(-47, 0))],
    "one less than are looked at": [-24 * 6, *range(-30, 0)],
    "one a day": [-24 * days for days in range(33, 0, -1)],
    "two at once": [-24 * 7, -24, -24, -1, -1],
}


@pytest.mark.parametrize("hours", BEFORE_THE_LAST.values(), ids=BEFORE_THE_LAST)
def test_attempts_that_serving_leaves_out_change_nothing(hours: list[float]) -> None:
    rows = [
        sync(hour * 60, place % 3 > 0, event_id=f"e-{place}", latency_ms=100.0 + place)
        for place, hour in enumerate(hours)
    ]
    trained = describe(attempts([*rows, sync(0)]), STATUS)
    trained = trained.filter(pc.equal(trained["event_id"], "i-1@0"))
    served = describe(attempts(rows), STATUS, due(sync(0), BEGIN))
    names = [name for name in served.column_names if name != "event_id"]
    assert trained.select(names).to_pylist() == served.select(names).to_pylist()


def test_neither_its_own_outcome_nor_anything_later_changes_what_is_known_of_a_sync() -> None:
    rows = history(seed=4, integrations=6, days=6)
    cut = len(rows) // 2
    sealed = rows[cut]
    changed = [*rows[:cut], sealed | {"ok": not sealed["ok"], "latency_ms": 1.0, "status_code": 429}]
    before = describe(attempts(rows), STATUS)
    after = describe(attempts(changed), STATUS)
    first = dict(zip(before["event_id"].to_pylist(), features_of(before), strict=True))
    second = dict(zip(after["event_id"].to_pylist(), features_of(after), strict=True))
    np.testing.assert_array_equal(first[sealed["event_id"]], second[sealed["event_id"]])
    following = next(r for r in rows[cut + 1 :] if r["integration_id"] == sealed["integration_id"])
    third = describe(attempts([*changed, following]), STATUS)
    last = dict(zip(third["event_id"].to_pylist(), features_of(third), strict=True))[following["event_id"]]
    assert last[COLUMN["failures_in_a_row"]] != first[following["event_id"]][COLUMN["failures_in_a_row"]]


def test_own_attempts_are_counted_as_by_hand() -> None:
    rows = [
        sync(0, latency_ms=1000.0),
        sync(60, ok=False, status_code=401, error_class="auth"),
        sync(120, ok=False, status_code=429, error_class="rate_limit", rate_limit_hits=3),
        sync(180, latency_ms=3000.0, calls=7, calls_left=13, calls_limit=100),
        sync(240),
    ]
    last = described(rows)["i-1@240"]
    assert (last["place"], last["attempts_24h"], last["failures_24h"], last["flip_24h"]) == (4, 4, 2, 2)
    assert (last["errors_auth_24h"], last["errors_rate_limit_24h"], last["rate_limit_hits_24h"]) == (1, 1, 3)
    assert (last["last_calls_left"], last["last_calls_limit"], last["calls_1h"]) == (13, 100, 7)
    assert (last["latency_24h"], last["latency_n_24h"]) == (5_600_000, 4)
    row = features_of(describe(attempts(rows), STATUS))[-1]
    found = dict(zip(FEATURES, row.tolist(), strict=True))
    assert found["failures_in_a_row"] == 0
    assert found["successes_in_a_row"] == 1
    assert found["hours_since_failure"] == 2
    assert found["headroom"] == pytest.approx(0.13)
    assert found["last_latency"] == 3000
    assert found["usual_latency"] == pytest.approx(np.exp((np.log(1001) + np.log(3001)) / 2) - 1, rel=0.002)
    assert found["hour_of_day"] == 4
    assert found["day_of_week"] == 0  # a Monday


@pytest.mark.parametrize(
    ("left", "limit", "headroom"), [(13, 100, 0.13), (130, 100, 1), (0, 0, np.nan), (5, 0, np.nan)]
)
def test_no_more_than_all_of_the_calls_are_left(left: int, limit: int, headroom: float) -> None:
    row = features_of(describe(attempts([sync(0, calls_left=left, calls_limit=limit), sync(60)]), STATUS))[-1]
    assert row[COLUMN["headroom"]] == pytest.approx(headroom, nan_ok=True)
    assert not np.isinf(row).any()


def test_when_the_calls_of_a_day_began_anew_is_known_for_a_day() -> None:
    left = {60: 50, 120: 20, 185: 90, 240: 80, 1620: 70, 1680: 60, 1800: 99}
    rows = [sync(minute, calls_left=n, calls_limit=100) for minute, n in left.items()]
    found = described([*rows, sync(300), sync(2000)])
    anew = {name: (row["anew_24h"], row["anew_minute_24h"]) for name, row in found.items()}
    assert anew["i-1@185"] == (0, 0)
    assert anew["i-1@240"] == anew["i-1@300"] == anew["i-1@1620"] == (1, 185)
    assert anew["i-1@1680"] == (0, 0)  # over a day ago
    assert anew["i-1@2000"] == (1, 1800 % 1440)


def test_for_how_long_calls_left_were_watched_is_known() -> None:
    left = {0: 90, 290: 80, 300: None, 310: 95, 611: 99, 1500: 70, 1740: 60, 2000: 50}
    rows = [sync(minute, calls_left=n, calls_limit=100) for minute, n in left.items()]
    found = described([*rows, sync(2001)])
    watched = {name: (row["watched_24h"] / 60e6, row["anew_24h"]) for name, row in found.items()}
    assert watched["i-1@290"] == (0, 0)
    assert watched["i-1@310"] == (290, 0)
    assert watched["i-1@611"] == (310, 1)  # seen past the attempt that said nothing
    assert watched["i-1@1740"] == (310 - 290, 1)  # not across more than five hours, a rise least of all
    assert watched["i-1@2001"] == (240 + 260, 0)


def test_others_count_once_their_outcome_is_known_and_an_integration_is_not_its_own_neighbour() -> None:
    other: dict[str, Any] = {"integration_id": "i-2"}
    rows = [
        sync(0),
        sync(0.5, **other),
        sync(50, ok=False),
        sync(55, ok=False, latency_ms=90_000.0, **other),  # known at 56.5
        sync(56.2, integration_id="i-3"),
        sync(58.2, integration_id="i-4"),
    ]
    found = described(rows)
    assert found["i-3@56.2"]["api_failed_15m"] == 1
    assert found["i-4@58.2"]["api_failed_15m"] == 2
    assert found["i-4@58.2"]["api_onset_15m"] == 2
    again = described([*rows, sync(58.5)])["i-1@58.5"]
    assert (again["api_failed_15m"], again["own_failed_15m"]) == (2, 1)


def test_a_sync_is_described_as_of_its_moment_and_never_before_the_attempt_before_it() -> None:
    other: dict[str, Any] = {"integration_id": "i-2"}
    rows = [sync(0), sync(1, **other), sync(40, ok=False, **other), sync(60, lead_minutes=30.0)]
    assert described(rows)["i-1@60"]["api_failed_60m"] == 0
    rows[-1]["lead_minutes"] = 10.0
    assert described(rows)["i-1@60"]["api_failed_60m"] == 1
    rows[-1]["lead_minutes"] = 500.0
    found = described(rows)["i-1@60"]
    assert found["lead"] == (60 * 60 - 0.8) * 1e6
    assert found["api_n_60m"] == 0


def test_the_last_status_before_the_moment_counts() -> None:
    rows = [sync(60), sync(120), sync(180)]
    page = statuses(
        (BEGIN + timedelta(minutes=90), "major_outage"), (BEGIN + timedelta(minutes=120.5), "operational")
    )
    found = described(rows, page)
    assert [found[f"i-1@{minute}"]["api_status"] for minute in (60, 120, 180)] == [None, 4, 0]


def test_the_first_sync_of_an_integration_is_described_by_nothing() -> None:
    found = features_of(describe(attempts([]), statuses(), due(sync(0), BEGIN)))
    row = dict(zip(FEATURES, found[0].tolist(), strict=True))
    assert row["known_attempts"] == 0
    assert row["attempts_24h"] == 0
    assert np.isnan(row["failure_share_24h"])
    assert np.isnan(row["hours_since_attempt"])


@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # py4j leaves a socket open
def test_spark_finds_the_same_numbers() -> None:
    spark_sql = pytest.importorskip("pyspark.sql", reason="the extra [spark] is not installed")
    rows = history(seed=5, integrations=4, days=4)
    os.environ["TZ"] = "UTC"
    spark = (
        spark_sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    try:
        for name, found, columns in (
            ("attempts", attempts(rows), ATTEMPT_COLUMNS),
            ("statuses", STATUS, STATUS_COLUMNS),
        ):
            spark.createDataFrame(found.select(list(columns))).createOrReplaceTempView(name)
        theirs = spark.sql(compiled("history", "pyspark")).toArrow()
    finally:
        spark.stop()
    ours = describe(attempts(rows), STATUS)
    ours, theirs = (found.sort_by("event_id") for found in (ours, theirs))
    names = [*MEASURES, *(name for name in ours.column_names if name.startswith(("api_", "fleet_", "own_")))]
    for name in names:
        mine, other = (columns_of(found.select([name]))[name] for found in (ours, theirs))
        np.testing.assert_array_equal(mine, other, err_msg=name)
