"""A company's own history: what its log says, and what it cannot."""

from typing import Any, cast

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.backtest.company import UNKNOWN, Replay, replay
from crewflow_assets.backtest.models import Models
from crewflow_assets.errors import NotFoundError
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.store.database import reading
from tests.backtest.test_conflicts import AlwaysCrewFlow
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
    assert facts["syncs"] == "20 of 1 integrations in 60 days, 5 failed (25.0%)"
    assert facts["retries"] == "1 recorded, 1 of them with the probability of their delay"
    assert facts["learned retries"].startswith("not estimated: 100")
