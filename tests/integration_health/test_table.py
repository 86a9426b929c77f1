"""The feature table: nothing from after the day, no label of a training row within the test days."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError
from crewflow_assets.integration_health.daily import metrics_of
from crewflow_assets.integration_health.days import Days
from crewflow_assets.integration_health.features import FEATURES, NOW
from crewflow_assets.integration_health.score import score_of
from crewflow_assets.integration_health.table import as_table, day_numbers, feature_table
from tests.integration_health.histories import FIRST, days, table
from tests.sync_health.watching import COMPANY, DAY, NOON, add_companies, attempt, post
from tests.worlds import write_lake


def test_the_label_is_the_score_a_week_later() -> None:
    found = table(3, 60)
    now = found.set_index(["entity", "day"])[NOW]
    for _, row in found[found["day"] < found["day"].max()].sample(20, random_state=0).iterrows():
        later = (datetime.fromisoformat(row["day"]) + timedelta(days=7)).date().isoformat()
        if (row["entity"], later) in now.index:
            assert row["label"] == pytest.approx(now[row["entity"], later], abs=1e-4)


def test_what_comes_later_changes_no_feature() -> None:
    whole = days(4, 60)
    cut = Days(whole.keys, whole.systems, whole.first, whole.values[:, :50])
    early, late = as_table(cut), as_table(whole)
    columns = ["entity", "day", *FEATURES]
    joined = early[columns].merge(late[columns], on=["entity", "day"], how="left", suffixes=("", "_whole"))
    for name in FEATURES:
        np.testing.assert_array_equal(joined[name], joined[f"{name}_whole"])


def test_no_label_of_training_reaches_into_the_test_days() -> None:
    found = table(8, 90)
    training, test = found[found["in_training"]], found[found["in_test"]]
    assert day_numbers(training).max() + 7 < day_numbers(test).min()
    assert 0.15 < len(test) / len(found) < 0.35
    assert not (found["in_training"] & found["in_test"]).any()


def test_the_days_before_the_first_sync_are_no_rows_and_weeks_without_syncs_neither() -> None:
    whole = days(2, 60)
    whole.values[0, :20] = 0
    whole.values[1, 20:] = 0
    found = as_table(whole)
    first = found[found["entity"] == "c-0/i-0"]["day"].min()
    assert first == (FIRST + timedelta(days=26)).isoformat()
    assert found[found["entity"] == "c-1/i-1"]["day"].max() == (FIRST + timedelta(days=41)).isoformat()


def test_too_short_a_history_is_refused_with_a_remedy(sqlite_store: Engine) -> None:
    with pytest.raises(NotReadyError, match="no sync attempts"):
        feature_table(NOON)
    add_companies(COMPANY)
    post(*(attempt(NOON + number * DAY) for number in range(10)))
    with clock.fixed(NOON + 20 * DAY):
        write_lake("sync_attempt")
    with pytest.raises(NotReadyError, match="import older sync attempts"):
        feature_table(NOON + 10 * DAY)


def test_the_table_of_the_lake_agrees_with_the_daily_scores(sqlite_store: Engine) -> None:
    add_companies(COMPANY)
    post(*(attempt(NOON + number * DAY, ok=number % 5 > 0, latency_ms=100.0 + number) for number in range(40)))
    with clock.fixed(NOON + 60 * DAY):
        write_lake("sync_attempt")
    found = feature_table(NOON + 40 * DAY)
    assert len(found) == 40 - 7 - 6
    assert str(found["day"].max()) == (NOON + 32 * DAY).date().isoformat()
    on = {day: datetime.fromisoformat(day).date() for day in found["day"]}
    week = timedelta(days=7)
    metrics = metrics_of([*on.values(), *(day + week for day in on.values())])
    for _, row in found.iterrows():
        for column, day in ((NOW, on[row["day"]]), ("label", on[row["day"]] + week)):
            assert row[column] == pytest.approx(score_of(metrics[COMPANY, "i-3", day]).overall, abs=1e-4)
