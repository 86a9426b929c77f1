"""From the curve of success over the delay to a plan: whether, when, how many more. Pure, for many calls at once.

The value of a retry after a delay d, with P its probability of success, is

    P(d) · success − call / headroom − waiting · d + (1 − P(d)) · W

where W is what the call is worth after one more failure: the same expression for one attempt more and the delay
later, at the best delay, or − giving_up if that is more (a finite Markov decision process, solved backwards). The
curves of later attempts are the mean ones of the error class after so many attempts and so much time, with the odds
moved by what sets this call apart from its class now: a call that is harder to mend than most stays so.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.retry_strategy.curves import MOST_ATTEMPTS
from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS, earliest_bucket, spread
from crewflow_assets.retry_strategy.features import Failures, context_rows
from crewflow_assets.retry_strategy.model import ELAPSED, LEAST, MOST, RetryPredictor, state_of
from crewflow_assets.retry_strategy.taxonomy import CLASSES

HOUR = 3600.0
LEAST_HEADROOM = 0.1
QUOTA = CLASSES.index("quota")
UNTOLD = 1800.0
"""Seconds since the first failure of a call that was repeated already, where the caller does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What counts how much; all relative to ``success`` = 1 by default, which are assumptions to be set by the owner.

    Attributes:
        success: Of a call that succeeds.
        call: Cost of one retry; on the same UTC day divided by the share of the API's calls that is left, where that
            is known (at least a tenth): the nearer the quota's end, the dearer.
        waiting: Cost of an hour until the data is there.
        giving_up: Cost of a call that a person or the next sync has to take up.
        exploration: Share of the plans whose delay is drawn evenly from all that are allowed.
        most_attempts: Attempts in all, after which a call is given up.
        deadline_hours: Since the first failure; a later success is worth no more than giving up. A call may have a
            deadline of its own.
    """

    success: float = 1.0
    call: float = 0.02
    waiting: float = 0.02
    giving_up: float = 0.3
    exploration: float = 0.05
    most_attempts: int = 8
    deadline_hours: float = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """Plans, one element a call; ``value`` and ``bucket`` are those of the best delay, or of the one explored.

    Attributes:
        retry: Whether it is worth a retry.
        seconds: Delay, NaN without a retry.
        bucket: Of the delay.
        propensity: With which the bucket was chosen.
        explored: Whether the delay was drawn to learn from it.
        probability: Of success after the delay; without a retry, of the best.
        value: As above.
        most_attempts: That the call is worth in all.
        curves: Probability of success by bucket, shape (n, BUCKETS).
    """

    retry: Bools
    seconds: Floats
    bucket: Ints
    propensity: Floats
    explored: Bools
    probability: Floats
    value: Floats
    most_attempts: Ints
    curves: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """What each call is worth after its next failure, and how many more retries it gets, by time since its first.

    Both have the shape (n, len(ELAPSED)).
    """

    worth: Floats
    retries: Ints


def ahead(usual: Floats, shift: Floats, made: Ints, price: Floats, deadline: Floats, values: Values) -> Ahead:
    """Solve backwards what further retries are worth.

    Args:
        usual: Log-odds of the mean curves of each call's class, shape (n, MOST_ATTEMPTS, len(ELAPSED), BUCKETS).
        shift: By which each call's log-odds differ from its class's, shape (n,).
        made: Attempts made so far, shape (n,).
        price: What each delay costs, shape (n, BUCKETS).
        deadline: Hours since the first failure, after which a success is worth no more than giving up, shape (n,).
        values: What counts how much.
    """
    n, states = len(made), np.arange(len(ELAPSED))
    worth, retries = np.full((n, len(ELAPSED)), -values.giving_up), np.zeros((n, len(ELAPSED)), np.int64)
    later = state_of(np.asarray(ELAPSED)[:, None] + DELAYS)
    success, price = success_of(np.asarray(ELAPSED), deadline[:, None], values), price[:, None, :]
    over = np.asarray(ELAPSED)[:, None] + DELAYS >= deadline[:, None, None] * HOUR
    for attempts in range(values.most_attempts - 1, int(made.min(initial=values.most_attempts)), -1):
        p = expit(usual[:, min(attempts, MOST_ATTEMPTS) - 1] + shift[:, None, None])
        value = p * success - price + (1 - p) * np.where(over, -values.giving_up, worth[:, later])
        best = value.argmax(axis=2)
        highest = value.max(axis=2)
        better = highest > -values.giving_up
        due = (attempts > made)[:, None]
        more = 1 + retries[np.arange(n)[:, None], later[states, best]]
        retries = np.where(due, np.where(better, more, 0), retries)
        worth = np.where(due, np.where(better, highest, -values.giving_up), worth)
    return Ahead(worth, retries)


def price_of(failures: Failures, values: Values) -> Floats:
    """Return what each delay costs, shape (n, BUCKETS); a quota's end makes only the calls of the same day dearer."""
    left = failures.around["headroom"]
    left = np.clip(np.where(np.isnan(left), 1.0, left), LEAST_HEADROOM, 1.0)[:, None]
    tomorrow = np.nan_to_num(failures.hour)[:, None] * HOUR + DELAYS >= 24 * HOUR
    spent = (failures.error_class == QUOTA)[:, None]  # it can only be retried once there is a new one
    return np.asarray(values.call / np.where(tomorrow | spent, 1.0, left) + values.waiting * DELAYS / HOUR)


def success_of(elapsed: Floats, deadline: Floats, values: Values) -> Floats:
    """Return what a success after each delay is worth.

    Args:
        elapsed: Seconds since the first failure, any shape.
        deadline: Hours, in a shape that goes with it.
        values: What counts how much.

    Returns:
        One value a bucket of delays, the last axis of their common shape and BUCKETS.
    """
    in_time = elapsed[..., None] + DELAYS <= deadline[..., None] * HOUR
    return np.where(in_time, values.success, -values.giving_up)


def plan(
    predictor: RetryPredictor,
    failures: Failures,
    values: Values,
    uniforms: Floats,
    *,
    allowed: Bools | None = None,
    worth: Floats | None = None,
    deadline: Floats | None = None,
) -> Plans:
    """Plan retries.

    Args:
        predictor: The fitted model.
        failures: The failed calls.
        values: What counts how much.
        uniforms: Three numbers in [0, 1) a call, shape (n, 3): whether to explore, which bucket, where in it.
        allowed: Which calls a rule allows to retry; by default all.
        worth: What each is worth after one more failure, shape (n, BUCKETS); by default what ``ahead`` says.
        deadline: Hours since the first failure, shape (n,); by default those of ``values``.
    """
    context = context_rows(failures)
    curves = predictor.curves(context)
    n = len(failures)
    after = np.nan_to_num(failures.retry_after)
    first = np.array([earliest_bucket(seconds) for seconds in after], np.int64)
    open_ = np.arange(BUCKETS) >= first[:, None]
    made = np.maximum(failures.attempts, 1).astype(np.int64)
    kind, rows, elapsed = failures.error_class, np.arange(n), _elapsed(failures)
    usual = logit(np.clip(predictor.usual[kind], LEAST, MOST))
    now = usual[rows, np.minimum(made, MOST_ATTEMPTS) - 1, state_of(elapsed)]
    shift = (logit(np.clip(curves, LEAST, MOST)) - now).mean(axis=1)
    price = price_of(failures, values)
    by = np.full(n, values.deadline_hours) if deadline is None else deadline
    look = ahead(usual, shift, made, price, by, values)
    later = state_of(elapsed[:, None] + DELAYS)
    if worth is None:
        over = elapsed[:, None] + DELAYS >= by[:, None] * HOUR
        worth = np.where(over, -values.giving_up, np.take_along_axis(look.worth, later, axis=1))
    value = np.where(open_, curves * success_of(elapsed, by, values) - price + (1 - curves) * worth, -np.inf)
    best = value.argmax(axis=1)
    retry = (made < values.most_attempts) & open_.any(axis=1) & (value.max(axis=1) > -values.giving_up)
    if allowed is not None:
        retry &= allowed
    count = np.maximum(open_.sum(axis=1), 1)
    explored = retry & (uniforms[:, 0] < values.exploration)
    drawn = np.minimum(first + np.floor(uniforms[:, 1] * count).astype(np.int64), BUCKETS - 1)
    bucket = np.where(explored, drawn, best)
    propensity = values.exploration / count + np.where(bucket == best, 1 - values.exploration, 0.0)
    seconds = np.full(n, np.nan)
    for place in np.flatnonzero(retry):
        seconds[place] = spread(int(bucket[place]), float(uniforms[place, 2]), not_before=float(after[place]))
    probability = curves[rows, best]
    if retry.any():
        probability[retry] = predictor.probability(context[retry], seconds[retry])
    return Plans(
        retry=retry,
        seconds=seconds,
        bucket=bucket,
        propensity=np.where(retry, propensity, np.nan),
        explored=explored,
        probability=probability,
        value=value[rows, bucket],
        most_attempts=np.where(retry, made + 1 + look.retries[rows, later[rows, bucket]], made),
        curves=curves,
    )


def _elapsed(failures: Failures) -> Floats:
    """Return the seconds since each call first failed; where that is not told of a repeated call, a usual time."""
    assumed = np.where(failures.attempts > 1, UNTOLD, 0.0)
    known = failures.since_first_failure
    return np.where(np.isnan(known), assumed, known)


def probabilities(plans: Plans, values: Values, after: Floats) -> Floats:
    """Return with which probability each bucket is chosen, shape (n, BUCKETS): what off-policy estimates need.

    Args:
        plans: Those of ``plan``, made without exploration, so that ``bucket`` is the best.
        values: With the exploration that is to be judged.
        after: What Retry-After asks, seconds, 0 where nothing, shape (n,).
    """
    first = np.array([earliest_bucket(seconds) for seconds in after], np.int64)
    open_ = np.arange(BUCKETS) >= first[:, None]
    chosen = values.exploration * open_ / np.maximum(open_.sum(axis=1, keepdims=True), 1)
    chosen[np.arange(len(chosen)), plans.bucket] += 1 - values.exploration
    return np.asarray(np.where(plans.retry[:, None], chosen, 0.0))
