from crewflow_assets.twin.sync.parameters import (
    INTERVALS,
    LIMITS,
    OUTAGE_QUANTILES,
    SYSTEMS,
    TICK_MINUTES,
    draw_parameters,
    parameter_notes,
)


def test_every_parameter_has_a_source_and_a_range_around_its_default() -> None:
    for note in parameter_notes():
        assert note.low < note.default < note.high, note.name
        assert len(note.source) > 10, note.name


def test_draws_lie_in_the_ranges_repeat_by_seed_and_differ_by_seed() -> None:
    drawn = draw_parameters(3)
    for note in parameter_notes():
        assert note.low <= getattr(drawn, note.name) <= note.high
    assert drawn == draw_parameters(3)
    assert drawn != draw_parameters(4)


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
