"""The feature row: what a request gives lands where what the store gives does, and every cause is named."""

from datetime import timedelta, timezone
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from crewflow_assets.sync_health.contract import Cause, SyncFeatures, SyncHealthRequest
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.features import (
    COLUMN,
    FEATURES,
    GIVEN,
    cause_of,
    columns_of,
    feature_rows,
    given_rows,
)
from tests.sync_health.syncs import BEGIN, attempts, statuses, sync

TOLD = {
    "sync_attempts_24h": 24,
    "sync_failures_24h": 2,
    "avg_latency_24h": 2300.0,
    "rate_limit_hits_24h": 9,
    "network_latency": 41.0,
    "api_status": "degraded",
    "timestamp": "2026-03-02T14:00:00Z",
}


def test_a_request_says_of_a_day_what_the_store_would_say() -> None:
    rows = [sync(60 * hour, ok=hour != 5, latency_ms=1000.0 + hour, network_latency_ms=40.0) for hour in range(30)]
    rows[7]["rate_limit_hits"] = 4
    page = statuses((BEGIN, "partial_outage"))
    stored = feature_rows(columns_of(describe(attempts(rows), page)))[-1]
    told = SyncFeatures(
        sync_attempts_24h=24,
        sync_failures_24h=1,
        avg_latency_24h=float(np.mean([1000.0 + hour for hour in range(5, 29)])),
        rate_limit_hits_24h=4,
        network_latency=40.0,
        api_status="partial_outage",
        timestamp=BEGIN + timedelta(hours=29),
    )
    given = given_rows([told])[0]
    places = [COLUMN[name] for name in GIVEN]
    np.testing.assert_allclose(given[places], stored[places], rtol=1e-6)
    others = [place for place in range(len(FEATURES)) if place not in places]
    assert np.isnan(given[others]).all()


def test_the_hour_is_that_of_utc_wherever_the_caller_is() -> None:
    moment = BEGIN + timedelta(hours=3)
    elsewhere = moment.astimezone(timezone(timedelta(hours=13)))
    rows = given_rows([SyncFeatures(**TOLD | {"timestamp": at}) for at in (moment, elsewhere)])
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sync_failures_24h": 25}, "more than the 24"),
        ({"timestamp": "1999-01-01T00:00:00Z"}, "before 2020-01-01"),
        ({"timestamp": "2026-03-02T14:00:00"}, "timezone"),
        ({"api_status": "fine"}, "operational"),
        ({"avg_latency_24h": float("nan")}, "avg_latency_24h"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SyncHealthRequest.model_validate({"integration_id": "i-3", "features": TOLD | change})


def test_every_cause_has_features_that_speak_of_it() -> None:
    assert {cause_of(name) for name in FEATURES} - {None} == set(get_args(Cause))
    assert cause_of("failures_in_a_row") is None
    assert cause_of("errors_auth_last_30") == "auth"
    assert cause_of("others_limited_15m") == "rate_limit"


def test_no_feature_stands_twice() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
