"""Integrations become known from their sync attempts, or because someone registers them."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from crewflow_assets.errors import InvalidInputError, NotFoundError
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.sync_tables import Integration
from crewflow_assets.store.tables import Event
from crewflow_assets.sync_health.integrations import integration_of, number_of_integrations, register
from tests.sync_health.watching import (
    COMPANY,
    MINUTE,
    NOON,
    add_companies,
    attempt,
    audited,
    everything,
    integration,
    post,
    risk,
    watch,
)


@pytest.fixture
def company(sqlite_store: Engine) -> str:
    add_companies(COMPANY, "c-2")
    return COMPANY


def test_the_first_attempt_makes_an_integration_known(company: str) -> None:
    post(attempt(NOON, ok=False), attempt(NOON - 20 * MINUTE, interval_minutes=20))
    found = integration()
    assert (found.system, found.state, found.needs_authorisation) == ("quickbooks", "active", False)
    assert (found.interval_minutes, found.freshness_minutes) == (20, 240)
    assert (found.last_attempt_at, found.last_ok_at) == (NOON, NOON - 20 * MINUTE)


def test_late_and_repeated_attempts_change_nothing_that_is_newer(company: str) -> None:
    newest = attempt(NOON, interval_minutes=20)
    post(newest)
    post(attempt(NOON - 60 * MINUTE, interval_minutes=60), newest)
    assert (integration().last_attempt_at, integration().interval_minutes) == (NOON, 20)
    assert len(everything(Integration)) == 1


def test_an_id_belongs_to_its_company(company: str) -> None:
    post(attempt(NOON), attempt(NOON, key=("c-2", "i-3"), system="xero"))
    assert integration().system == "quickbooks"
    assert integration(("c-2", "i-3")).system == "xero"


def test_an_attempt_at_another_system_is_refused_with_all_of_its_batch(company: str) -> None:
    post(attempt(NOON - MINUTE))
    with pytest.raises(InvalidInputError) as refused:
        post(attempt(NOON, key=(COMPANY, "i-4")), attempt(NOON, system="xero"))
    [problem] = refused.value.problems
    assert problem.loc == ("events", 1, "payload", "system")
    assert "'quickbooks', not to 'xero'" in problem.msg
    assert len(everything(Event)) == len(everything(Integration)) == 1


def test_an_interval_while_slowed_is_not_the_usual_one(watched: Engine) -> None:
    watch(NOON, {(COMPANY, "i-3"): risk(0.9, "rate_limit")})
    post(attempt(NOON + 30 * MINUTE, interval_minutes=30))
    assert integration().interval_minutes == 15
    post(attempt(NOON + 125 * MINUTE, interval_minutes=20))
    assert integration().interval_minutes == 20


def registered(**settings: float) -> Integration:
    with transaction() as session:
        return register(
            session, company_id=COMPANY, integration_id="i-3", system="quickbooks", actor="dana", **settings
        )


def test_the_newest_word_on_the_end_of_the_grant_holds(company: str) -> None:
    day = timedelta(days=1)
    post(attempt(NOON, grant_expires_in_seconds=86_400), attempt(NOON - day, grant_expires_in_seconds=86_401))
    assert integration().grant_ends_at == NOON + day
    post(attempt(NOON - day / 2, grant_expires_in_seconds=86_407), attempt(NOON + MINUTE))
    assert integration().grant_ends_at == NOON + day  # late, and without a word
    post(attempt(NOON + 2 * MINUTE, grant_expires_in_seconds=100 * 86_400))
    assert integration().grant_ends_at == NOON + 2 * MINUTE + 100 * day
    post(attempt(NOON + 3 * MINUTE, grant_expires_in_seconds=86_399))
    assert integration().grant_ends_at == NOON + 2 * MINUTE + 100 * day  # an access token's life


def test_a_late_word_on_the_grant_counts_after_attempts_without_one(company: str) -> None:
    post(attempt(NOON, ok=False))
    post(attempt(NOON - MINUTE, grant_expires_in_seconds=100 * 86_400))
    assert integration().grant_ends_at == NOON - MINUTE + timedelta(days=100)


def test_registering_sets_what_is_named_and_is_audited_once(company: str) -> None:
    registered(freshness_minutes=60)
    registered(interval_minutes=10)
    registered(interval_minutes=10)
    assert (integration().freshness_minutes, integration().interval_minutes) == (60, 10)
    assert audited() == ["integration.register", "integration.register"]
    post(attempt(NOON))
    assert (integration().freshness_minutes, integration().last_ok_at) == (60, NOON)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), 1e9])
def test_durations_are_checked(company: str, minutes: float) -> None:
    with pytest.raises(InvalidInputError, match="freshness_minutes: "):
        registered(freshness_minutes=minutes)
    assert everything(Integration) == []


def test_registering_needs_the_company_and_keeps_the_system(company: str) -> None:
    post(attempt(NOON))
    with transaction() as session:
        with pytest.raises(InvalidInputError, match="connects to 'quickbooks', not to 'sage'"):
            register(session, company_id=COMPANY, integration_id="i-3", system="sage", actor="dana")
        with pytest.raises(NotFoundError, match="'c-9' is unknown"):
            register(session, company_id="c-9", integration_id="i-3", system="sage", actor="dana")


def test_an_unknown_integration_is_said_with_the_remedy(company: str) -> None:
    with reading() as session:
        assert number_of_integrations(session) == 0
        with pytest.raises(NotFoundError, match="crewflow integration set"):
            integration_of(session, COMPANY, "i-9")
