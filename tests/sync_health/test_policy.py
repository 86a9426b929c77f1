"""What is done about a risk, as a pure function."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.sync_health.contract import ActionName, Cause, RateLimitForecast, RiskFactor
from crewflow_assets.sync_health.policy import (
    ACTION_OF,
    FORECAST_ACTS_ABOVE,
    SCHEDULE,
    Plan,
    Risk,
    Situation,
    in_words,
    is_answered,
    pause_until,
    plan,
    recommended,
    reset_to_wait_for,
    slow_interval,
    trouble_of,
)
from tests.sync_health.watching import DETAIL, HEALTHY, MINUTE, NOON, forecast, risk


def situation(
    *,
    usual: float | None = 15.0,
    freshness: float = 240.0,
    last: datetime | None = NOON - 5 * MINUTE,
    last_ok: datetime | None = NOON - 5 * MINUTE,
    schedule: ActionName | None = None,
    ended: datetime | None = None,
    held: frozenset[ActionName] = frozenset(),
    until: datetime | None = None,
    grant_ends: datetime | None = None,
) -> Situation:
    return Situation(
        interval_minutes=usual,
        freshness_minutes=freshness,
        last_attempt_at=last,
        last_ok_at=last_ok,
        schedule=schedule,
        schedule_ended_at=ended,
        held=held,
        schedule_until=until,
        grant_ends_at=grant_ends,
    )


@pytest.mark.parametrize(
    ("cause", "action", "minutes", "interval"),
    [
        ("rate_limit", "slow_down", 120, 30),
        ("api_down", "pause", 60, None),
        ("auth", "reauthorise", 7 * 24 * 60, None),
        ("data_quality", "review_records", 7 * 24 * 60, None),
    ],
)
def test_each_cause_has_its_action(cause: Cause, action: str, minutes: int, interval: int | None) -> None:
    found = plan(risk(0.75, cause), situation(), NOON)
    assert found == Plan(action, cause, DETAIL, NOON + minutes * MINUTE, interval)  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", ["latency", "network"])
def test_causes_that_waiting_does_not_mend_are_told_and_not_acted_on(cause: Cause) -> None:
    assert plan(risk(0.9, cause, "api_down"), situation(), NOON) is None
    trouble = trouble_of(risk(0.9, cause, "api_down"), situation(), NOON)
    assert trouble is not None
    assert trouble.cause == cause


def test_nothing_is_done_at_the_threshold() -> None:
    assert plan(risk(0.7, "api_down"), situation(), NOON) is None
    assert plan(risk(0.7001, "api_down"), situation(), NOON) is not None


def test_a_cause_that_explains_little_is_told_and_not_acted_on() -> None:
    small = Risk(0.9, [RiskFactor(code=c, detail=c, contribution=0.1) for c in ("api_down", "auth", "latency")])
    assert plan(small, situation(), NOON) is not None
    many = Risk(0.9, [RiskFactor(code=c, detail=c, contribution=0.1) for c in ("api_down", *["latency"] * 4)])
    assert plan(many, situation(), NOON) is None
    assert trouble_of(many, situation(), NOON) is not None


def test_a_risk_without_causes_is_told_as_such() -> None:
    trouble = trouble_of(risk(0.9), situation(), NOON)
    assert trouble is not None
    assert (trouble.cause, trouble.supported) == ("unknown", False)
    assert plan(risk(0.9), situation(), NOON) is None


def test_the_forecast_acts_by_its_own_threshold() -> None:
    assert trouble_of(risk(0.2, forecast=forecast(FORECAST_ACTS_ABOVE)), situation(), NOON) is None
    foreseen = risk(0.2, forecast=forecast(FORECAST_ACTS_ABOVE + 0.01))
    found = plan(foreseen, situation(), NOON)
    assert found is not None
    assert (found.action, found.cause) == ("slow_down", "rate_limit")
    assert found.detail == "will hit its rate limit in about 2 hours"


def test_too_many_calls_as_the_leading_cause_act_by_the_threshold_of_the_forecast() -> None:
    likely = FORECAST_ACTS_ABOVE + 0.01
    found = plan(risk(likely, "rate_limit", "api_down"), situation(), NOON)
    assert found == Plan("slow_down", "rate_limit", DETAIL, NOON + 120 * MINUTE, 30)
    assert trouble_of(risk(FORECAST_ACTS_ABOVE, "rate_limit"), situation(), NOON) is None
    assert trouble_of(risk(0.69, "api_down", "rate_limit"), situation(), NOON) is None


def no_calls_left(reset: float | None, stated: bool = True) -> Risk:
    none = RateLimitForecast(
        minutes=0, low_minutes=0, high_minutes=0, probability=1, reset_minutes=reset, reset_stated=stated
    )
    return Risk(0.2, [], none)


def test_where_no_calls_are_left_the_next_sync_waits_until_they_begin_anew() -> None:
    last = NOON - 5 * MINUTE
    found = plan(no_calls_left(300), situation(last=last), NOON)
    assert found is not None
    assert (found.action, found.until, found.interval_minutes) == ("slow_down", NOON + 300 * MINUTE, 305)
    assert found.detail == "no calls are left; they begin anew in about 5 hours"
    [shown] = recommended(no_calls_left(300), situation(last=last), NOON)
    assert (shown.interval_minutes, shown.automatic) == (305, True)
    usual = plan(no_calls_left(None), situation(), NOON)
    assert usual is not None
    assert usual.interval_minutes == 30
    unbelieved = plan(no_calls_left(24 * 60 + 1), situation(), NOON)
    assert unbelieved is not None
    assert unbelieved.interval_minutes == 30


@pytest.mark.parametrize(("reset", "interval"), [(235, 240), (236, 30), (1320, 30)])
def test_a_moment_that_is_only_inferred_is_waited_for_while_the_data_is_fresh(reset: float, interval: int) -> None:
    found = plan(no_calls_left(reset, stated=False), situation(), NOON)
    assert found is not None
    assert found.interval_minutes == interval


def test_that_no_calls_are_left_goes_before_what_the_model_takes_for_the_cause() -> None:
    unsure = Risk(0.9, risk(0.9, "latency").factors, no_calls_left(60).forecast)
    found = plan(unsure, situation(), NOON)
    assert found is not None
    assert found.cause == "rate_limit"


def test_a_wait_takes_the_place_of_a_slower_schedule_that_ends_before_and_of_nothing_else() -> None:
    slowed: frozenset[ActionName] = frozenset({"slow_down"})
    standing = {"schedule": "slow_down", "held": slowed}
    assert plan(no_calls_left(90), situation(until=NOON + 60 * MINUTE, **standing), NOON) is not None  # type: ignore[arg-type]
    assert plan(no_calls_left(90), situation(until=NOON + 90 * MINUTE, **standing), NOON) is None  # type: ignore[arg-type]
    assert plan(no_calls_left(90.9), situation(until=NOON + 90 * MINUTE, **standing), NOON) is None  # type: ignore[arg-type]
    assert plan(no_calls_left(91.1), situation(until=NOON + 90 * MINUTE, **standing), NOON) is not None  # type: ignore[arg-type]
    paused = situation(schedule="pause", until=NOON + 60 * MINUTE)
    assert plan(no_calls_left(90), paused, NOON) is None
    assert plan(no_calls_left(90), situation(held=slowed), NOON) is None  # someone took it back


def foreseen(minutes: float, reset: float) -> Risk:
    limit = RateLimitForecast(minutes=minutes, low_minutes=1, high_minutes=None, probability=0.9, reset_minutes=reset)
    return Risk(0.2, [], limit)


@pytest.mark.parametrize(
    ("minutes", "reset", "interval"),
    [(15, 200, 205), (16, 200, 30), (15, 236, 30), (15, 235, 240)],
    ids=["now", "not with the next sync", "too old by then", "just in time"],
)
def test_the_last_calls_are_left_where_the_next_sync_would_use_them_up(
    minutes: float, reset: float, interval: int
) -> None:
    found = plan(foreseen(minutes, reset), situation(usual=15), NOON)
    assert found is not None
    assert found.interval_minutes == interval


def test_people_are_asked_before_a_grant_ends() -> None:
    ends = situation(grant_ends=NOON + timedelta(days=3))
    assert plan(HEALTHY, situation(grant_ends=NOON + timedelta(days=3, minutes=1)), NOON) is None
    found = plan(HEALTHY, ends, NOON)
    assert found is not None
    assert (found.action, found.detail) == ("reauthorise", "the grant ends in about 3 days unless it is renewed")
    over = plan(HEALTHY, situation(grant_ends=NOON, last_ok=NOON - 5 * MINUTE), NOON)
    assert over is not None
    assert over.detail == "the grant has ended"
    down = plan(risk(0.9, "api_down"), ends, NOON)
    assert down is not None
    assert down.action == "pause"


def test_a_grant_that_ended_by_its_word_and_serves_still_has_not_ended() -> None:
    ended = NOON - timedelta(days=40)
    renewed = situation(grant_ends=ended, last_ok=ended + MINUTE)
    assert trouble_of(HEALTHY, renewed, NOON) is None
    assert is_answered("reauthorise", ended, renewed, NOON)
    over = situation(grant_ends=ended, last_ok=ended - MINUTE)
    assert trouble_of(HEALTHY, over, NOON) is not None
    assert not is_answered("reauthorise", ended - 2 * MINUTE, over, NOON)


def test_a_dormant_integration_is_left_alone() -> None:
    assert plan(risk(0.9, "api_down"), situation(last=NOON - timedelta(hours=25)), NOON) is None
    assert plan(risk(0.9, "api_down"), situation(last=None), NOON) is None


def test_what_is_held_is_not_done_again() -> None:
    assert plan(risk(0.9, "auth"), situation(held=frozenset({"reauthorise"})), NOON) is None
    assert plan(risk(0.9, "auth"), situation(held=frozenset({"pause"})), NOON) is not None


def test_a_pause_takes_the_place_of_a_slower_schedule_and_not_the_other_way() -> None:
    assert plan(risk(0.9, "api_down"), situation(schedule="slow_down"), NOON) is not None
    assert plan(risk(0.9, "rate_limit"), situation(schedule="pause"), NOON) is None


def test_between_two_pauses_a_sync_is_tried() -> None:
    ended = NOON - 5 * MINUTE
    assert plan(risk(0.9, "api_down"), situation(last=ended - MINUTE, ended=ended), NOON) is None
    assert plan(risk(0.9, "api_down"), situation(last=ended, ended=ended), NOON) is not None


def test_a_pause_ends_before_the_data_is_too_old() -> None:
    fresh_for_40 = situation(last_ok=NOON - 200 * MINUTE)
    assert pause_until(fresh_for_40, NOON) == NOON + 40 * MINUTE
    assert pause_until(situation(last_ok=NOON - 230 * MINUTE), NOON) is None
    assert pause_until(situation(last_ok=NOON - 300 * MINUTE), NOON) == NOON + 60 * MINUTE


def test_slowing_never_speeds_up_and_keeps_within_the_freshness_limit() -> None:
    assert slow_interval(None, 240) == 30
    assert slow_interval(5, 240) == 30
    assert slow_interval(60, 240) == 120
    assert slow_interval(61, 240) is None
    assert slow_interval(5, 59) is None


CAUSES = st.sampled_from(["rate_limit", "api_down", "latency", "auth", "data_quality", "network"])
RISKS = st.builds(
    Risk,
    st.floats(0, 1),
    st.lists(st.builds(RiskFactor, code=CAUSES, detail=st.just("x"), contribution=st.floats(-1, 1)), max_size=6),
    st.none()
    | st.builds(
        RateLimitForecast,
        minutes=st.floats(0, 1e6),
        low_minutes=st.floats(0, 1e6),
        high_minutes=st.none() | st.floats(0, 1e6),
        probability=st.floats(0, 1),
        reset_minutes=st.none() | st.floats(0.1, 1e5),
        reset_stated=st.booleans(),
    ),
)
PAST = st.none() | st.integers(0, 3000).map(lambda n: NOON - n * MINUTE)
NAMES = st.sampled_from(sorted(ACTION_OF.values()))
SITUATIONS = st.builds(
    situation,
    usual=st.none() | st.floats(0.1, 2000),
    freshness=st.floats(1, 5000),
    last=PAST,
    last_ok=PAST,
    schedule=st.none() | st.sampled_from(sorted(SCHEDULE)),
    ended=PAST,
    held=st.frozensets(NAMES),
    until=st.none() | st.integers(1, 3000).map(lambda n: NOON + n * MINUTE),
    grant_ends=st.none() | st.integers(-9000, 9000).map(lambda n: NOON + n * MINUTE),
)


@given(RISKS, SITUATIONS)
def test_whatever_comes_what_is_planned_keeps_the_rules(found: Risk, now: Situation) -> None:
    planned = plan(found, now, NOON)
    shown = recommended(found, now, NOON)
    assert [one.action for one in shown if one.automatic] == ([planned.action] if planned else [])
    assert len({one.action for one in shown}) == len(shown)
    if planned is None:
        return
    trouble = trouble_of(found, now, NOON)
    assert trouble is not None
    assert trouble.supported
    assert planned.action not in now.held
    assert planned.until > NOON
    if planned.interval_minutes is not None and reset_to_wait_for(found, now, NOON) is None:
        assert planned.interval_minutes > (now.interval_minutes or 0)
        assert 2 * planned.interval_minutes <= now.freshness_minutes
    assert planned.until <= NOON + timedelta(days=7)
    if planned.action == "pause":
        assert 15 * MINUTE <= planned.until - NOON <= 60 * MINUTE


@pytest.mark.parametrize(
    ("minutes", "said"), [(1, "a minute"), (40, "40 minutes"), (89, "89 minutes"), (118, "2 hours")]
)
def test_durations_are_said_as_people_say_them(minutes: float, said: str) -> None:
    assert in_words(minutes) == f"about {said}"
