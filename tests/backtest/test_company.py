"""A company's own history: what its log says, and what it cannot."""

import re
from datetime import datetime
from typing import Any, cast

import numpy as np
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.backtest.company import UNKNOWN, Replay, _seen, replay
from crewflow_assets.backtest.models import FITTED, Models
from crewflow_assets.errors import NotFoundError
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.retry_strategy.delays import BUCKETS
from crewflow_assets.store.database import reading
from tests.backtest.test_conflicts import AlwaysCrewFlow
from tests.retry_strategy.test_model import fitted
from tests.sync_health.watching import COMPANY, DAY, NOON, add_companies, attempt, post
from tests.worlds import write_lake

MODELS = Models(cast(Any, None), cast(Any, None), cast(Any, AlwaysCrewFlow()))


def replayed(company: str = COMPANY) -> Replay:
    with clock.fixed(NOON), reading() as session:
        return replay(session, MODELS, company)


def test_an_unknown_company_is_refused_and_one_without_history_says_so(sqlite_store: Engine) -> None:
    with pytest.raises(NotFoundError, match="'c-9' is unknown"):
        replayed("c-9")
    add_companies(COMPANY)
    assert dict(replayed().facts) == {
        "syncs": "none in the last 60 days",
        "actions": "none were decided",
        "retries": "none are recorded",
        "conflicts": "none were decided by people",
    }
    assert replayed().unknown == UNKNOWN


def test_only_a_champion_may_have_been_trained_on_who_is_asked() -> None:
    trained = next(name for name in map(str, range(100)) if fold_of(name) == "train")
    other = next(name for name in map(str, range(100)) if fold_of(name) != "train")
    assert "flattering" in _seen("champion 1.2", {other, trained})
    assert _seen("champion 1.2", {other}) == _seen(FITTED, {trained}) == ""


def test_syncs_and_few_retries_are_counted_and_no_more_is_claimed(sqlite_store: Engine) -> None:
    add_companies(COMPANY, "c-2")
    retry = {
        "integration_id": "i-3",
        "system": "quickbooks",
        "call_id": "call-1",
        "error_class": "server_error",
        "status_code": 503,
        "attempt": 1,
        "delay_seconds": 60.0,
        "ok": True,
        "propensity": 0.5,
    }
    post(
        *(attempt(NOON - number * DAY, ok=number % 4 > 0) for number in range(1, 21)),
        attempt(NOON - DAY, key=("c-2", "i-3")),
        EventIn(event_id="r-1", kind="retry_outcome", company_id=COMPANY, occurred_at=NOON - DAY, payload=retry),
    )
    with clock.fixed(NOON):
        write_lake("sync_attempt")
        write_lake("retry_outcome")
    facts = dict(replayed().facts)
    assert facts["syncs"] == "20 of 1 integration in 60 days, 5 (25.0%) failed"
    assert facts["retries"] == "1 recorded, 1 of them with the probability of their delay"
    assert facts["calls that these retried"] == "1; 1 (100.0%) got through in the end"
    assert facts["of these refused for what a person mends"].startswith("0 (0.0%)")
    assert facts["learned retries"].startswith("not estimated: 100")


def test_the_worth_of_a_plan_has_an_interval_where_there_is_but_one_integration(sqlite_store: Engine) -> None:
    add_companies(COMPANY)
    usual = {"integration_id": "i-3", "system": "quickbooks", "attempt": 1, "propensity": 1 / BUCKETS}
    refused = {"error_class": "auth", "status_code": 401, "error_message": "invalid_grant", "ok": False}
    down = {"error_class": "server_error", "status_code": 503, "error_message": "Service Unavailable"}

    def retry(number: int, at: datetime, **fields: Any) -> EventIn:
        payload = usual | {"call_id": f"call-{number}"} | fields
        return EventIn(
            event_id=f"r-{number}", kind="retry_outcome", company_id=COMPANY, occurred_at=at, payload=payload
        )

    delays = np.geomspace(2, 40_000, 120)
    post(
        *(
            retry(n, NOON - DAY - n * DAY / 4, **down, delay_seconds=float(delay), ok=bool(delay > 1000))
            for n, delay in enumerate(np.random.default_rng(1).permutation(delays))
        ),
        *(retry(200 + n, NOON - DAY - n * DAY, **refused, delay_seconds=60.0) for n in range(30)),
        retry(300, NOON - 90 * DAY, **down, delay_seconds=60.0, ok=True),
    )
    with clock.fixed(NOON):
        write_lake("retry_outcome")
        with reading() as session:
            models = Models(cast(Any, None), fitted(), cast(Any, AlwaysCrewFlow()))
            facts = dict(replay(session, models, COMPANY).facts)
    assert facts["retries"].startswith("150 recorded")
    assert facts["of these refused for what a person mends"].startswith("30 (20.0%)")
    robust = facts["worth of the next learned retry, doubly robust"]
    value, low, high = (float(one) for one in re.findall(r"-?[0-9]\.[0-9]{3}", robust)[:3])
    assert low < value < high
    assert "interval by day" in robust
