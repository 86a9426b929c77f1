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
    pause_until,
    plan,
    recommended,
    slow_interval,
    trouble_of,
)
from tests.sync_health.watching import DETAIL, MINUTE, NOON, forecast, risk


def situation(
    *,
    usual: float | None = 15.0,
    freshness: float = 240.0,
    last: datetime | None = NOON - 5 * MINUTE,
    last_ok: datetime | None = NOON - 5 * MINUTE,
    schedule: ActionName | None = None,
    ended: datetime | None = None,
    held: frozenset[ActionName] = frozenset(),
) -> Situation:
    return Situation(
        interval_minutes=usual,
        freshness_minutes=freshness,
        last_attempt_at=last,
        last_ok_at=last_ok,
        schedule=schedule,
        schedule_ended_at=ended,
        held=held,
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
    trouble = trouble_of(risk(0.9, cause, "api_down"))
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
    assert trouble_of(many) is not None


def test_a_risk_without_causes_is_told_as_such() -> None:
    trouble = trouble_of(risk(0.9))
    assert trouble is not None
    assert (trouble.cause, trouble.supported) == ("unknown", False)
    assert plan(risk(0.9), situation(), NOON) is None


def test_the_forecast_acts_by_its_own_threshold() -> None:
    assert trouble_of(risk(0.2, forecast=forecast(FORECAST_ACTS_ABOVE))) is None
    foreseen = risk(0.2, forecast=forecast(FORECAST_ACTS_ABOVE + 0.01))
    found = plan(foreseen, situation(), NOON)
    assert found is not None
    assert (found.action, found.cause) == ("slow_down", "rate_limit")
    assert found.detail == "will hit its rate limit in about 2 hours"


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
)


@given(RISKS, SITUATIONS)
def test_whatever_comes_what_is_planned_keeps_the_rules(found: Risk, now: Situation) -> None:
    planned = plan(found, now, NOON)
    shown = recommended(found, now, NOON)
    assert [one.action for one in shown if one.automatic] == ([planned.action] if planned else [])
    assert len({one.action for one in shown}) == len(shown)
    if planned is None:
        return
    trouble = trouble_of(found)
    assert trouble is not None
    assert trouble.supported
    assert planned.action not in now.held
    assert planned.until > NOON
    if planned.interval_minutes is not None:
        assert planned.interval_minutes > (now.interval_minutes or 0)
        assert 2 * planned.interval_minutes <= now.freshness_minutes
    if planned.action == "pause":
        assert 15 * MINUTE <= planned.until - NOON <= 60 * MINUTE


@pytest.mark.parametrize(
    ("minutes", "said"), [(1, "a minute"), (40, "40 minutes"), (89, "89 minutes"), (118, "2 hours")]
)
def test_durations_are_said_as_people_say_them(minutes: float, said: str) -> None:
    assert in_words(minutes) == f"about {said}"
