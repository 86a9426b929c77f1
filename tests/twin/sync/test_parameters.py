from crewflow_assets.twin.sync.parameters import (
    INTERVALS,
    LIMITS,
    OUTAGE_QUANTILES,
    SYSTEMS,
    TICK_MINUTES,
)


def test_the_limits_of_every_system_are_those_that_it_publishes() -> None:
    assert set(LIMITS) == set(SYSTEMS)
    assert (LIMITS["quickbooks"].calls_per_minute, LIMITS["quickbooks"].concurrent) == (500, 10)
    assert (LIMITS["xero"].calls_per_minute, LIMITS["xero"].calls_per_day, LIMITS["xero"].concurrent) == (60, 5000, 5)
    assert all(limits.source for limits in LIMITS.values())


def test_intervals_are_whole_ticks_and_their_shares_sum_to_one() -> None:
    assert all(minutes % TICK_MINUTES == 0 for minutes in INTERVALS)
    assert abs(sum(INTERVALS.values()) - 1) < 1e-9


def test_the_quantiles_of_outages_rise() -> None:
    minutes, shares = zip(*OUTAGE_QUANTILES, strict=True)
    assert list(minutes) == sorted(minutes)
    assert list(shares) == sorted(shares)
