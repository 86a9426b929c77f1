"""Answers of the retry strategy: what is known of the failed call, the rules, the plan, budget and breaker."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from crewflow_assets import clock
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.retry_strategy.contract import RetryRequest
from crewflow_assets.retry_strategy.delays import DELAYS, earliest_bucket
from crewflow_assets.retry_strategy.features import Failures, class_places
from crewflow_assets.retry_strategy.holds import LONGEST, Refused, hold
from crewflow_assets.retry_strategy.in_force import values_in_force
from crewflow_assets.retry_strategy.ledger import Admitted, Wanted, admit
from crewflow_assets.retry_strategy.model import RetryPredictor
from crewflow_assets.retry_strategy.plan import Plans, Values, plan
from crewflow_assets.retry_strategy.reasons import (
    RELEASE_REASONS,
    Told,
    cause,
    kind_of,
    no_worth_reason,
    retry_reason,
)
from crewflow_assets.retry_strategy.recent import recent
from crewflow_assets.retry_strategy.rules import Ruling, breaker_open, forbidden
from crewflow_assets.retry_strategy.surroundings import Asked, surroundings
from crewflow_assets.retry_strategy.taxonomy import Classified, classify
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import transaction

HOUR = timedelta(hours=1)


def answer(predictor: RetryPredictor, requests: Sequence[RetryRequest]) -> list[Answer]:
    """Answer requests in order. Each retry that is told takes one from its budget; what a person mends is watched."""
    if not requests:
        return []
    at, values = clock.now(), values_in_force()
    classes = [
        classify(r.integration_type, r.status_code, r.error_code, r.error_message, r.error_type) for r in requests
    ]
    failures = _failures(requests, classes, at)
    rulings = [_ruling(request, known) for request, known in zip(requests, classes, strict=True)]
    moment = at.isoformat()
    uniforms = np.array([_uniforms(request, place, moment) for place, request in enumerate(requests)])
    plans = plan(
        predictor,
        failures,
        values,
        uniforms,
        allowed=np.array([ruling is None for ruling in rulings], bool),
        deadline=np.array([_deadline(request, values) for request in requests]),
    )
    waiting = _refused(requests, classes, rulings, values, at)
    wanted = _wanted(requests, classes, failures, plans)
    admitted: dict[int, Admitted] = {}
    watched: set[int] = set()
    if waiting or wanted:
        with transaction() as session:
            held = hold(session, list(waiting.values()), at) if waiting else []
            watched = {place for place, waits in zip(waiting, held, strict=True) if waits}
            admitted = dict(zip(wanted, admit(session, list(wanted.values()), at), strict=True))
    answers = []
    for place, request in enumerate(requests):
        ruling, known = rulings[place], classes[place]
        if ruling is not None:
            fields = _refusal(place, request, known, plans) | _instead(known, ruling, watched=place in watched)
        else:
            fields = _fields(place, request, known, failures, plans, values, admitted.get(place))
        answers.append(Answer(fields))
    return answers


def _uniforms(request: RetryRequest, place: int, moment: str) -> list[float]:
    key = (request.company_id or "", request.integration_id or "", request.error_message, moment, str(place))
    return [uniform("retry", name, *key) for name in ("explore", "bucket", "within")]


def _ruling(request: RetryRequest, known: Classified) -> Ruling | None:
    return forbidden(
        known.name,
        status=request.status_code,
        write=request.write,
        idempotent=_idempotent(request),
        retry_after=request.retry_after_seconds,
    )


def _idempotent(request: RetryRequest) -> bool:
    return not request.write or request.idempotency_key is not None


def _failures(requests: Sequence[RetryRequest], classes: Sequence[Classified], at: datetime) -> Failures:
    def numbers(name: str) -> Any:
        return np.array([getattr(request, name) for request in requests], float)  # None becomes NaN

    asked = Asked(
        system=np.array([request.integration_type for request in requests], object),
        company=np.array([request.company_id or "" for request in requests], object),
        integration=np.array([request.integration_id or "" for request in requests], object),
        micros=np.full(len(requests), round(at.timestamp() * 1e6), float),
    )
    first = numbers("seconds_since_first_failure")
    return Failures(
        error_class=class_places([known.name for known in classes]),
        system=asked.system,
        attempts=numbers("previous_attempts"),
        hour=numbers("time_of_day"),
        latency=numbers("latency_ms"),
        latency_24h=numbers("api_latency_24h"),
        status=np.where(numbers("status_code") > 0, numbers("status_code"), np.nan),
        retry_after=numbers("retry_after_seconds"),
        since_first_failure=np.where(np.isnan(first) & (numbers("previous_attempts") <= 1), 0.0, first),
        write=numbers("write"),
        idempotent=np.array([_idempotent(request) for request in requests], float),
        around=surroundings(asked, recent().seen(at)),
    )


def _deadline(request: RetryRequest, values: Values) -> float:
    """Return the hours since the first failure within which a success counts."""
    return values.deadline_hours if request.deadline_hours is None else request.deadline_hours


def _refused(
    requests: Sequence[RetryRequest],
    classes: Sequence[Classified],
    rulings: Sequence[Ruling | None],
    values: Values,
    at: datetime,
) -> dict[int, Refused]:
    """Return the calls that a person's mending would let through, as far as they are named."""
    found = {}
    for place, (request, ruling) in enumerate(zip(requests, rulings, strict=True)):
        if ruling is None or ruling.release_on is None:
            continue
        if request.company_id is None or request.integration_id is None or request.call_id is None:
            continue
        left = timedelta(hours=min(_deadline(request, values), LONGEST / HOUR)) - timedelta(
            seconds=request.seconds_since_first_failure or 0
        )
        found[place] = Refused(
            company_id=request.company_id,
            integration_id=request.integration_id,
            call_id=request.call_id,
            release_on=ruling.release_on,
            system=request.integration_type,
            error_class=classes[place].name,
            record_type=None if request.record_id is None else request.record_type,
            record_id=request.record_id,
            until=at + left,
        )
    return found


def _wanted(
    requests: Sequence[RetryRequest], classes: Sequence[Classified], failures: Failures, plans: Plans
) -> dict[int, Wanted]:
    """Return the planned retries, with whether the API of each is as good as down."""
    around = failures.around
    return {
        place: Wanted(
            requests[place].integration_type,
            requests[place].company_id or "",
            float(plans.seconds[place]),
            breaker_open(
                classes[place].name,
                float(around["others_n_15m"][place]),
                float(around["others_failed_share_15m"][place]),
            ),
        )
        for place in map(int, np.flatnonzero(plans.retry))
    }


def _refusal(place: int, request: RetryRequest, known: Classified, plans: Plans) -> dict[str, Any]:
    """Return an answer that says not to retry, without what is done instead."""
    return {
        "should_retry": False,
        "optimal_delay": None,
        "max_attempts": int(max(request.previous_attempts, 1)),
        "success_probability": float(plans.probability[place]),
        "propensity": None,
        "explored": False,
        "error_class": known.name,
        "classified_by": known.how,
        "release_on": None,
    }


def _instead(known: Classified, ruling: Ruling, *, watched: bool) -> dict[str, Any]:
    """Return what is done where a rule forbids to retry."""
    reason = f"{kind_of(known)}: {ruling.why}"
    if not watched or ruling.release_on is None:
        return {"alternative": ruling.alternative, "reason": reason}
    reason += f"; {RELEASE_REASONS[ruling.release_on]}"
    return {"alternative": ruling.alternative, "reason": reason, "release_on": ruling.release_on}


def _fields(
    place: int,
    request: RetryRequest,
    known: Classified,
    failures: Failures,
    plans: Plans,
    values: Values,
    admitted: Admitted | None,
) -> dict[str, Any]:
    refused = _refusal(place, request, known, plans)
    if admitted is None:
        best = float(DELAYS[plans.bucket[place]])
        made = int(max(request.previous_attempts, 1))
        by = _deadline(request, values)
        why = no_worth_reason(known, float(plans.probability[place]), best, made, values.most_attempts, by)
        return refused | {"alternative": "queue_for_manual", "reason": why}
    if admitted.seconds is None:
        return refused | {"alternative": "use_fallback", "reason": _held_reason(request, known, admitted)}
    moved = admitted.held_by == "breaker"
    seconds = _whole(admitted.seconds, request.retry_after_seconds)
    probability = float(plans.curves[place, earliest_bucket(seconds) if moved else 0])
    told = Told(
        system=request.integration_type,
        classified=known,
        seconds=seconds,
        probability=probability if moved else float(plans.probability[place]),
        sooner=_sooner(request, plans, place, seconds),
        retry_after=request.retry_after_seconds,
        explored=bool(plans.explored[place]),
        held_by_breaker=moved,
        others_n=_or_zero(failures.around["others_n_15m"][place]),
        others_failed_share=_or_zero(failures.around["others_failed_share_15m"][place]),
    )
    return refused | {
        "should_retry": True,
        "optimal_delay": seconds,
        "max_attempts": int(plans.most_attempts[place]),
        "success_probability": told.probability,
        "alternative": None,
        "reason": retry_reason(told),
        "propensity": None if moved else float(plans.propensity[place]),
        "explored": told.explored and not moved,
    }


def _or_zero(number: float) -> float:
    return 0.0 if math.isnan(number) else float(number)


def _whole(seconds: float, retry_after: float | None) -> int:
    """Return whole seconds: down, so as to stay in the bucket, unless that is before what the API asks for."""
    whole = math.floor(seconds)
    return whole if whole >= max(retry_after or 0.0, 1.0) else math.ceil(seconds)


def _sooner(request: RetryRequest, plans: Plans, place: int, seconds: float) -> tuple[float, float] | None:
    """Return a delay of a quarter of the one chosen, with its probability, where the API does not ask for more."""
    shorter = seconds / 4
    if shorter < max(request.retry_after_seconds or 0.0, 1.0):
        return None
    bucket = earliest_bucket(shorter)
    return float(DELAYS[bucket]), float(plans.curves[place, bucket])


def _held_reason(request: RetryRequest, known: Classified, admitted: Admitted) -> str:
    if admitted.held_by == "breaker":
        down = f"{request.integration_type} is as good as down, and the probes of the next day are taken"
        return f"{cause(known)}: {down}; leave the call to the next sync"
    return (
        f"{cause(known)}: the retry budget for {request.integration_type}"
        f"{f' of {request.company_id}' if request.company_id else ''} is used up; leave the call to the next sync"
    )
