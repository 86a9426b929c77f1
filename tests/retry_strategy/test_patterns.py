"""Messages that no class explains: counted, and told from chance."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from crewflow_assets.retry_strategy.patterns import FEWEST, Told, count_unexplained, most_by_chance, unexplained_since
from crewflow_assets.store.database import reading
from tests.retry_strategy.asking import MINUTE, NOON, add_companies, outcome, post

NEW = "ledger module reported KX-9: rollup deferred"


def test_what_a_class_explains_is_not_counted() -> None:
    failures: list[dict[str, Any]] = [
        {"system": "xero", "status_code": 429, "error_message": "Too Many Requests"},
        {"system": "xero", "status_code": None, "error_message": NEW, "error_class": "server_error"},
        {"system": "sage", "error_message": "read ECONNRESET"},
        {"system": "sage", "error_message": None},
    ]
    assert count_unexplained(failures) == {"xero": Told(2, 1), "sage": Told(2, 0)}


def test_the_limit_knows_how_little_was_seen_before() -> None:
    now = Told(1000, 0)
    often, rarely, never_seen = Told(100_000, 1000), Told(1000, 10), Told(0, 0)
    limits = [most_by_chance(now, before) for before in (often, rarely, never_seen)]
    assert 15 < limits[0] < 25
    assert limits[0] < limits[1] < limits[2]
    assert most_by_chance(Told(10, 0), Told(10_000, 0)) == FEWEST


def counted() -> tuple[int, float]:
    with reading() as session:
        found = unexplained_since(session, NOON, NOON - timedelta(days=30))
    return found["quickbooks"].number, found["quickbooks"].limit


def test_a_burst_of_new_messages_asks_and_the_usual_share_does_not(sqlite_store: Engine) -> None:
    add_companies()
    usual = "posting engine returned state"
    post(
        *(outcome(n, "c-1", NOON - n * MINUTE, status_code=503) for n in range(380)),
        *(outcome(1000 + n, "c-1", NOON - n * MINUTE, error_message=f"{usual} {n}") for n in range(20)),
    )
    later = NOON + timedelta(hours=1)
    post(
        *(outcome(2000 + n, "c-1", later - MINUTE, status_code=503) for n in range(92)),
        *(outcome(3000 + n, "c-1", later - MINUTE, error_message=f"{usual} {n}") for n in range(8)),
        at=later,
    )
    number, limit = counted()
    assert number == 8
    assert number <= limit
    post(*(outcome(4000 + n, "c-2", later - MINUTE, error_message=NEW) for n in range(12)), at=later)
    number, limit = counted()
    assert number == 20
    assert number > limit


def test_an_installation_without_retries_counts_nothing(sqlite_store: Engine) -> None:
    with reading() as session:
        assert unexplained_since(session, NOON, NOON) == {}
