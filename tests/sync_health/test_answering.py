"""Answers from the store: what was posted counts at once, what comes later never, and the unknown is named."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.lake.events import write_days
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.sync_health.answering import answer, assess
from crewflow_assets.sync_health.contract import SyncHealthRequest, SyncHealthResponse
from crewflow_assets.sync_health.integrations import register
from crewflow_assets.sync_health.recent import recent
from tests.sync_health.test_features import TOLD
from tests.sync_health.test_model import fitted
from tests.sync_health.watching import COMPANY, I_3, NOON, add_companies, attempt, post

REQUEST = SyncHealthRequest(company_id=COMPANY, integration_id="i-3")
HOUR = timedelta(hours=1)


@pytest.fixture
def posted(sqlite_store: Engine) -> Engine:
    add_companies(COMPANY, "c-2")
    post(*(attempt(NOON - hours * HOUR, interval_minutes=60, latency_ms=700.0) for hours in range(30, 0, -1)))
    return sqlite_store


def ask(at: Any = NOON, *requests: SyncHealthRequest) -> list[Answer]:
    with clock.fixed(at):
        return answer(fitted(), requests or [REQUEST])


def probability(at: Any = NOON) -> float:
    return float(ask(at)[0].fields["failure_probability"])


def failures(*hours: float) -> Sequence[EventIn]:
    return [
        attempt(NOON + h * HOUR, ok=False, status_code=401, error_class="auth", interval_minutes=60) for h in hours
    ]


def test_an_answer_keeps_the_contract(posted: Engine) -> None:
    [found] = ask()
    said = SyncHealthResponse.model_validate(
        {**found.fields, "prediction_id": "p-1", "model_version": "1.0", "variant": "champion"}
    )
    assert said.status == "healthy"
    assert said.horizon_minutes == 0  # the last was an hour ago
    assert ask(NOON - HOUR / 4)[0].fields["horizon_minutes"] == 15


def test_a_posted_failure_counts_at_once_and_names_its_cause(posted: Engine) -> None:
    before = probability(NOON + HOUR)
    post(*failures(0, 0.5, 0.8))
    after = ask(NOON + HOUR)[0].fields
    assert after["failure_probability"] > before + 0.1
    assert after["risk_factors"][0]["code"] == "auth"
    assert after["risk_factors"][0]["detail"] == "3 failures in a row, the last: not authorised"


def test_what_happens_after_the_moment_is_not_known(posted: Engine) -> None:
    before = probability(NOON)
    post(*failures(0, 0.5, 0.8))
    assert probability(NOON) == before
    assert probability(NOON - 5 * HOUR) == probability(NOON - 5 * HOUR)


def test_a_late_event_counts_wherever_it_is_read_from(posted: Engine) -> None:
    post(*failures(0.5, 0.8))
    without = probability(NOON + HOUR)
    with clock.fixed(NOON + HOUR), transaction() as session:
        from crewflow_assets.handlers import EVENT_HANDLERS
        from crewflow_assets.ingest.events import record_events

        record_events(session, failures(0.1, 0.2, 0.3), handlers=EVENT_HANDLERS)
    late = probability(NOON + HOUR)
    assert late != without
    with reading() as session:
        write_days(session, "sync_attempt", [(NOON - days * 24 * HOUR).date() for days in range(3)])
    recent().refresh(NOON - 40 * 24 * HOUR)  # an earlier moment: all is read anew, now from the lake
    assert probability(NOON + HOUR) == late


def test_many_are_answered_in_order(posted: Engine) -> None:
    post(*(attempt(NOON - h * HOUR / 2, ok=False, key=("c-2", "i-9"), status_code=503) for h in range(20, 0, -1)))
    requests = [SyncHealthRequest(company_id="c-2", integration_id="i-9"), REQUEST] * 3
    found = [one.fields["failure_probability"] for one in ask(NOON, *requests)]
    assert found[0] > found[1] + 0.1
    assert found == found[:2] * 3


def test_an_integration_that_has_not_synced_yet_is_answered(posted: Engine) -> None:
    with clock.fixed(NOON), transaction() as session:
        register(session, company_id="c-2", integration_id="new", system="xero", actor="test")
    [found] = ask(NOON, SyncHealthRequest(company_id="c-2", integration_id="new"))
    assert 0 < found.fields["failure_probability"] < 0.5


def test_given_features_need_no_store(posted: Engine) -> None:
    request = SyncHealthRequest.model_validate({"integration_id": "elsewhere", "features": TOLD})
    calm = SyncHealthRequest.model_validate(
        {"integration_id": "elsewhere", "features": TOLD | {"sync_failures_24h": 0, "rate_limit_hits_24h": 0}}
    )
    bad = SyncHealthRequest.model_validate(
        {"integration_id": "elsewhere", "features": TOLD | {"sync_failures_24h": 20}}
    )
    found = [one.fields["failure_probability"] for one in ask(NOON, calm, request, bad)]
    assert found == sorted(found)
    assert found[2] > found[0]


@pytest.mark.parametrize(
    ("request_", "loc", "words"),
    [
        (
            SyncHealthRequest(company_id=COMPANY, integration_id="i-x"),
            (1, "integration_id"),
            "has no integration 'i-x'",
        ),
        (SyncHealthRequest(integration_id="i-3"), (1, "company_id"), "needed to find integration 'i-3'"),
        (SyncHealthRequest(company_id="c-2", integration_id="i-3"), (1, "integration_id"), "'c-2' has no"),
    ],
)
def test_an_unknown_integration_is_named(
    posted: Engine, request_: SyncHealthRequest, loc: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        ask(NOON, REQUEST, request_)
    [problem] = error.value.problems
    assert problem.loc == loc
    assert words in problem.msg


def test_a_risk_is_that_of_the_next_sync(posted: Engine, home: Path) -> None:
    assessed = assess(fitted(), [I_3], NOON - HOUR / 4)
    assert assessed.horizons == [15.0]
