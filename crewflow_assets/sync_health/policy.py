"""What is to be done about a risk: which action a cause supports, for how long, and when nothing should be done.

Pure functions of a risk and of what is known of the integration; the watch, the predictions and simulations share
them. Durations and thresholds are the PRD's (2.2) where it names them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Literal

from crewflow_assets.sync_health.contract import (
    AT_RISK,
    ActionName,
    Cause,
    RateLimitForecast,
    RecommendedAction,
    RiskFactor,
)

TroubleCause = Cause | Literal["unknown"]

ACTION_OF: dict[TroubleCause, ActionName] = {
    "rate_limit": "slow_down",
    "api_down": "pause",
    "auth": "reauthorise",
    "data_quality": "review_records",
}
"""Latency and network trouble support no action: waiting or slowing does not mend them."""
SCHEDULE: frozenset[ActionName] = frozenset(("slow_down", "pause"))

SLOW_INTERVAL_MINUTES = 30
LONGEST_WAIT_MINUTES = 24 * 60.0
"""Calls of a day begin anew within a day; a longer wait that an API names is not believed."""
FORECAST_PRECISION = timedelta(minutes=1)
"""Forecasts are rounded; a schedule is not set anew for seconds."""
SLOW_DOWN_LASTS = timedelta(hours=2)
PAUSE_LASTS = timedelta(minutes=60)
SHORTEST_PAUSE = timedelta(minutes=15)
ASK_LASTS = timedelta(days=7)
WITHHELD_ASK_LASTS = timedelta(days=1)
GRANT_ENDS_WITHIN = timedelta(days=3)
"""A weekend, and a day to act."""
DORMANT_AFTER = timedelta(days=1)

LEADING_SHARE = 0.25
"""A cause that explains less of the risk than this is told, but nothing is done about it."""
SLOWING_COST = 0.3
FAILURE_COST = 1.0
FORECAST_ACTS_ABOVE = SLOWING_COST / FAILURE_COST
"""Slowing is worth it where the expected cost of hitting a rate limit exceeds that of two hours of later syncs, which
is taken as three tenths of a failed sync."""


@dataclass(frozen=True, slots=True)
class Risk:
    """What a model says of the next sync; factors come largest first."""

    probability: float
    factors: Sequence[RiskFactor] = ()
    forecast: RateLimitForecast | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of an integration at the moment of decision.

    ``schedule`` is the action that changes the schedule now, until ``schedule_until``, and ``schedule_ended_at`` when
    the last one ended. ``held`` actions are not taken: they stand already, or someone took them back within a day.
    """

    interval_minutes: float | None
    freshness_minutes: float
    last_attempt_at: datetime | None
    last_ok_at: datetime | None
    schedule: ActionName | None = None
    schedule_until: datetime | None = None
    schedule_ended_at: datetime | None = None
    held: frozenset[ActionName] = frozenset()
    grant_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What people are told: the cause, a sentence about it, and whether it explains enough to act on."""

    cause: TroubleCause
    detail: str
    supported: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """An action that the platform takes by itself, until a moment; minutes where it changes the interval."""

    action: ActionName
    cause: TroubleCause
    detail: str
    until: datetime
    interval_minutes: int | None = None


def trouble_of(risk: Risk, situation: Situation, at: datetime) -> Trouble | None:
    """Name the trouble ahead: the leading cause of a risk above 0.7, a rate limit, or a grant that ends; else None.

    That no calls are left is known and goes before what a model takes for the cause. A rate limit is foreseen from
    the calls left; where they do not say so, from a risk of which too many calls are the leading cause.
    """
    forecast, known = risk.forecast, _none_left(risk.forecast)
    explained = [factor for factor in risk.factors if factor.contribution > 0]
    lead = max(explained, key=lambda factor: factor.contribution, default=None)
    if risk.probability > AT_RISK and not known:
        if lead is None:
            return Trouble("unknown", "no single cause stands out", supported=False)
        share = lead.contribution / sum(factor.contribution for factor in explained)
        return Trouble(lead.code, lead.detail, supported=share >= LEADING_SHARE)
    if forecast is not None and forecast.probability > FORECAST_ACTS_ABOVE:
        return Trouble("rate_limit", _foreseen(forecast), supported=True)
    if lead is not None and lead.code == "rate_limit" and risk.probability > FORECAST_ACTS_ABOVE:
        return Trouble("rate_limit", lead.detail, supported=True)
    ends_at = grant_end(situation)
    if ends_at is not None and ends_at - at <= GRANT_ENDS_WITHIN:
        return Trouble("auth", _ending(ends_at, at), supported=True)
    return None


def plan(risk: Risk, situation: Situation, at: datetime) -> Plan | None:
    """Return what the platform does about a risk at a moment, or None where it does nothing by itself."""
    trouble = trouble_of(risk, situation, at)
    if trouble is None or not trouble.supported or is_dormant(situation.last_attempt_at, at):
        return None
    action = ACTION_OF.get(trouble.cause)
    if action == "slow_down" and (reset := reset_to_wait_for(risk, situation, at)) is not None:
        return _until_reset(trouble, situation, at, reset)
    if action is None or action in situation.held:
        return None
    if action not in SCHEDULE:
        return Plan(action, trouble.cause, trouble.detail, at + ASK_LASTS)
    if not _may_change_schedule(action, situation):
        return None
    if action == "slow_down":
        interval = slow_interval(situation.interval_minutes, situation.freshness_minutes)
        if interval is None:
            return None
        return Plan(action, trouble.cause, trouble.detail, at + SLOW_DOWN_LASTS, interval)
    until = pause_until(situation, at)
    return None if until is None else Plan(action, trouble.cause, trouble.detail, until)


def recommended(risk: Risk, situation: Situation, at: datetime) -> list[RecommendedAction]:
    """Return the actions to show beside a risk: first what the platform does by itself, then what a person might."""
    trouble = trouble_of(risk, situation, at)
    if trouble is None:
        return []
    planned = plan(risk, situation, at)
    names = [planned.action] if planned is not None else []
    causes = [trouble.cause, *(factor.code for factor in risk.factors if factor.contribution > 0)]
    names += [ACTION_OF[cause] for cause in causes if cause in ACTION_OF]
    found = []
    for name in dict.fromkeys(names):
        automatic = planned is not None and name == planned.action
        interval = slow_interval(situation.interval_minutes, situation.freshness_minutes)
        if automatic and planned is not None:
            interval = planned.interval_minutes
        if name == "slow_down" and interval is None:
            continue
        found.append(
            RecommendedAction(
                action=name,
                interval_minutes=interval if name == "slow_down" else None,
                duration_minutes=_pause_minutes(planned, at) if name == "pause" else None,
                automatic=automatic,
            )
        )
    return found


def slow_interval(usual: float | None, freshness: float) -> int | None:
    """Return the interval in minutes to slow down to: 30, or twice the usual where that is longer.

    None where two such intervals would not fit into the freshness limit, so that a sync would come too late.
    """
    interval = max(SLOW_INTERVAL_MINUTES, round(2 * (usual or 0)))
    return interval if 2 * interval <= freshness else None


def reset_to_wait_for(risk: Risk, situation: Situation, at: datetime) -> datetime | None:
    """Return when the calls begin anew, where a sync before that would be wasted; else None.

    That is so where no calls are left and the API said for how long. A moment that is only inferred is waited for no
    longer than the data is fresh: where no calls are left, or the next sync will probably use up the last ones.
    """
    forecast = risk.forecast
    if forecast is None or forecast.reset_minutes is None or forecast.reset_minutes > LONGEST_WAIT_MINUTES:
        return None
    reset = at + timedelta(minutes=forecast.reset_minutes)
    if _none_left(forecast) and forecast.reset_stated:
        return reset
    fresh_from = situation.last_ok_at or at
    in_time = reset - fresh_from <= timedelta(minutes=situation.freshness_minutes)
    return reset if in_time and forecast.minutes <= (situation.interval_minutes or 0) else None


def pause_until(situation: Situation, at: datetime) -> datetime | None:
    """Return the end of a pause: in 60 minutes, or earlier so that a sync is tried before the data is too old.

    None where less than 15 minutes are left. Once the data is too old already, a full pause costs nothing more.
    """
    until = at + PAUSE_LASTS
    if situation.last_ok_at is not None:
        too_old = situation.last_ok_at + timedelta(minutes=situation.freshness_minutes)
        if at < too_old < until:
            until = too_old
    return until if until - at >= SHORTEST_PAUSE else None


def grant_end(situation: Situation) -> datetime | None:
    """Return when the grant ends or has ended, as was last said; None where a sync succeeded after that."""
    ends_at, last_ok = situation.grant_ends_at, situation.last_ok_at
    return None if ends_at is None or (last_ok is not None and last_ok > ends_at) else ends_at


def is_answered(action: ActionName, decided_at: datetime, situation: Situation, at: datetime) -> bool:
    """Say whether what people were asked for has come: a sync succeeded since, and no grant is about to end."""
    if action in SCHEDULE:
        return False
    ends_at = grant_end(situation) if action == "reauthorise" else None
    if ends_at is not None and ends_at - at <= GRANT_ENDS_WITHIN:
        return False
    return situation.last_ok_at is not None and situation.last_ok_at > decided_at


def is_dormant(last_attempt_at: datetime | None, at: datetime) -> bool:
    """Say whether an integration has not been syncing for a day, so that no sync is there to be saved."""
    return last_attempt_at is None or at - last_attempt_at > DORMANT_AFTER


def in_words(minutes: float) -> str:
    """Render a duration as people say it: "about 2 hours", "about 3 days"."""
    if minutes < 1.5:
        return "about a minute"
    if minutes < 90:
        return f"about {round(minutes)} minutes"
    if minutes < 36 * 60:
        return f"about {round(minutes / 60)} hours"
    return f"about {round(minutes / 1440)} days"


def _none_left(forecast: RateLimitForecast | None) -> bool:
    return forecast is not None and forecast.minutes == 0 and forecast.probability == 1


def _foreseen(forecast: RateLimitForecast) -> str:
    if _none_left(forecast):
        reset = forecast.reset_minutes
        return "no calls are left" + ("" if reset is None else f"; they begin anew in {in_words(reset)}")
    return f"will hit its rate limit in {in_words(forecast.minutes)}"


def _ending(ends_at: datetime, at: datetime) -> str:
    if ends_at <= at:
        return "the grant has ended"
    return f"the grant ends in {in_words((ends_at - at) / timedelta(minutes=1))} unless it is renewed"


def _until_reset(trouble: Trouble, situation: Situation, at: datetime, reset: datetime) -> Plan | None:
    """Return the schedule whose next sync comes when the calls begin anew; it may replace one that ends before."""
    if situation.schedule == "slow_down" and situation.schedule_until is not None:
        if situation.schedule_until >= reset - FORECAST_PRECISION:
            return None
    elif "slow_down" in situation.held or not _may_change_schedule("slow_down", situation):
        return None
    since = situation.last_attempt_at or at
    return Plan("slow_down", trouble.cause, trouble.detail, reset, ceil((reset - since) / timedelta(minutes=1)))


def _may_change_schedule(action: ActionName, situation: Situation) -> bool:
    """Say whether the schedule may change: a pause may replace a slower schedule, and never without a try between.

    While nothing syncs, nothing new is known, and a risk would renew its own pause for ever.
    """
    if situation.schedule is not None:
        return action == "pause" and situation.schedule == "slow_down"
    ended = situation.schedule_ended_at
    return ended is None or (situation.last_attempt_at is not None and situation.last_attempt_at >= ended)


def _pause_minutes(planned: Plan | None, at: datetime) -> int:
    pause = planned.until - at if planned is not None and planned.action == "pause" else PAUSE_LASTS
    return int(pause / timedelta(minutes=1))
