"""Budgets and breakers in the database: shared by all, also by two at once."""

import threading
from datetime import timedelta

from sqlalchemy import Engine, func, select

from crewflow_assets.retry_strategy.ledger import Wanted, admit
from crewflow_assets.retry_strategy.rules import CAPACITY
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.retry_tables import RetryBreaker, RetryBudget
from tests.retry_strategy.asking import NOON


def test_two_at_once_never_spend_more_than_there_is(store: Engine) -> None:
    found: list[bool] = []

    def spend() -> None:
        for _ in range(20):
            with transaction() as session:
                [one] = admit(session, [Wanted("xero", "c-1", 5.0, breaker_open=False)], NOON)
            found.append(one.seconds is not None)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == CAPACITY
    assert len(found) == 80
    with reading() as session:
        assert session.scalar(select(RetryBudget.tokens)) == 0


def test_a_breaker_hands_out_one_slot_a_minute_and_refuses_beyond_a_day(store: Engine) -> None:
    down = Wanted("xero", "c-1", 5.0, breaker_open=True)
    with transaction() as session:
        assert [one.seconds for one in admit(session, [down, down], NOON)] == [5.0, 65.0]
        session.get_one(RetryBreaker, "xero").next_probe_at = NOON + timedelta(days=2)
    with transaction() as session:
        [one] = admit(session, [down], NOON)
    assert (one.seconds, one.held_by) == (None, "breaker")
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(RetryBudget)) == 1
        assert session.scalar(select(RetryBudget.tokens)) == CAPACITY - 2
