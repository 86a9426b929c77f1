"""What the model never overrides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.retry_strategy.delays import LONGEST
from crewflow_assets.retry_strategy.rules import (
    CAPACITY,
    LOOK_UP,
    NEVER,
    PROBE_SECONDS,
    UNKNOWN_OUTCOME,
    Budget,
    breaker_open,
    forbidden,
    per_minute,
    probe_slot,
)
from crewflow_assets.retry_strategy.taxonomy import CLASSES


@pytest.mark.parametrize("name", ["auth", "validation", "token_expired", "closed_period", "duplicate", "conflict"])
def test_what_no_repetition_changes_is_not_repeated(name: str) -> None:
    assert forbidden(name, status=400, write=False, idempotent=True, retry_after=None) is not None  # type: ignore[arg-type]


@given(
    st.sampled_from(CLASSES),
    st.sampled_from([None, 400, 429, 500, 503, 504]),
    st.booleans(),
    st.none() | st.floats(0, 2 * LONGEST),
)
def test_a_write_of_unknown_outcome_is_looked_up_unless_it_has_a_key(
    name: str, status: int | None, idempotent: bool, retry_after: float | None
) -> None:
    found = forbidden(name, status=status, write=True, idempotent=idempotent, retry_after=retry_after)  # type: ignore[arg-type]
    if name in NEVER:
        assert found is not None
    elif name in UNKNOWN_OUTCOME and not idempotent and status not in (429, 503):
        assert found is not None
        assert (found.alternative, found.why) == ("use_fallback", LOOK_UP)
    else:
        assert (found is None) == (retry_after is None or retry_after < LONGEST)


def test_a_budget_is_spent_and_comes_back() -> None:
    budget: Budget | None = Budget(CAPACITY, 0.0)
    spent = 0
    while budget is not None:
        last, budget = budget, budget.spent()
        spent += 1
    assert spent == CAPACITY + 1
    assert last.refilled(60.0, per_minute("xero")).tokens == 6
    assert last.refilled(1e9, per_minute("xero")).tokens == CAPACITY
    assert last.refilled(-60.0, per_minute("xero")) == last


def test_an_unknown_system_gets_the_smallest_budget() -> None:
    assert per_minute("freshbooks") == min(per_minute(name) for name in ("quickbooks", "xero", "sage"))


def test_the_breaker_takes_many_failing_customers() -> None:
    assert breaker_open("server_error", 20, 0.9)
    assert not breaker_open("server_error", 5, 1.0)
    assert not breaker_open("server_error", 20, 0.5)
    assert not breaker_open("rate_limit", 20, 0.9)
    assert not breaker_open("server_error", 0, float("nan"))


def test_probes_go_out_one_after_the_other() -> None:
    first, free = probe_slot(10.0, None)
    second, free = probe_slot(10.0, free)
    assert (first, second, free) == (10.0, 10 + PROBE_SECONDS, 10 + 2 * PROBE_SECONDS)
    assert probe_slot(1000.0, free)[0] == 1000
