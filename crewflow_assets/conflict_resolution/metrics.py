"""How good automatic resolution is, as people say: the PRD's AutoResolutionMetrics, and what follows if it is poor.

Nobody's silence counts as acceptance. People look at what seems wrong, so what they chose to review condemns too
much: accuracy is said from the decisions that were withheld and taken blind, each with weight 1 / propensity, where
there are any; from the reviews alone where there are none.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.standing import ACTOR, AGREED, OVERRODE, ResolutionState
from crewflow_assets.conflict_resolution.switches import STOPPED, judge, tell_people
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution, ConflictSwitch
from crewflow_assets.store.tables import AuditEntry

DAYS = 30
LEAST_ACCURACY = 0.85
RETRAIN = "conflict.retrain"


def metrics_of(
    session: Session, *, company_id: str, at: datetime, days: int = DAYS, conflict_type: str | None = None
) -> dict[str, Any]:
    """Return the PRD's metrics of the days before a moment.

    ``accuracy_rate`` and its 95 % interval are null where nobody reviewed anything; the interval is Wilson's (1927,
    doi 10.1080/01621459.1927.10502953). ``accuracy_at_most`` is what it would be if all that nobody overrode were
    right.
    """
    since = at - timedelta(days=days)
    opened = [Conflict.company_id == company_id, Conflict.opened_at > since, Conflict.opened_at <= at]
    decided = [
        ConflictResolution.company_id == company_id,
        ConflictResolution.method == "model",
        ConflictResolution.decided_at > since,
        ConflictResolution.decided_at <= at,
    ]
    if conflict_type is not None:
        opened.append(Conflict.conflict_type == conflict_type)
        decided.append(ConflictResolution.conflict_type == conflict_type)
    withheld = ConflictResolution.state == ResolutionState.WITHHELD.value
    total = session.scalar(select(func.count()).where(*opened)) or 0
    acted = session.scalar(select(func.count(ConflictResolution.conflict.distinct())).where(*decided, ~withheld)) or 0
    weight = 1 / func.nullif(ConflictResolution.propensity, 0)
    found = session.execute(
        select(withheld, ConflictResolution.review, func.count(), func.coalesce(func.sum(weight), 0.0))
        .where(*decided, ConflictResolution.review.is_not(None))
        .group_by(withheld, ConflictResolution.review)
    ).all()
    counts = {(bool(blind), review): (number, float(summed)) for blind, review, number, summed in found}
    accepted = sum(number for (_, review), (number, _) in counts.items() if review == AGREED)
    overridden = sum(number for (_, review), (number, _) in counts.items() if review == OVERRODE)
    blind = {review: counts.get((True, review), (0, 0.0)) for review in (AGREED, OVERRODE)}
    seen = blind[AGREED][0] + blind[OVERRODE][0]
    rate: float | None
    if seen:
        rate = blind[AGREED][1] / (blind[AGREED][1] + blind[OVERRODE][1])
    else:
        rate = accepted / (accepted + overridden) if accepted + overridden else None
    number = seen or accepted + overridden
    return {
        "days": days,
        "total_conflicts": total,
        "auto_resolved": acted,
        "manual_review": max(0, total - acted),
        "reviewed": accepted + overridden,
        "reviewed_blind": seen,
        "auto_resolution_accepted": accepted,
        "auto_resolution_overridden": overridden,
        "accuracy_rate": rate,
        "accuracy_interval": None if rate is None else list(wilson(rate, number)),
        "accuracy_at_most": None if not acted else 1 - counts.get((False, OVERRODE), (0, 0.0))[0] / acted,
    }


def wilson(rate: float, number: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share seen in a number of cases."""
    from scipy.stats import binomtest

    interval = binomtest(round(rate * number), number).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def too_low(found: Mapping[str, Any]) -> str | None:
    """Return in which way accuracy is surely below 85 %, for people; None where that cannot be said.

    Either the whole interval of the blind decisions lies below, or so many automatic ones were overridden that the
    rest, were they all right, would not reach it.
    """
    if found["reviewed_blind"] and found["accuracy_interval"][1] < LEAST_ACCURACY:
        return f"{found['accuracy_rate']:.0%} of {found['reviewed_blind']} blind decisions agree with the model"
    at_most, acted = found["accuracy_at_most"], found["auto_resolved"]
    if at_most is not None and wilson(at_most, acted)[1] < LEAST_ACCURACY:
        return f"people overrode {1 - at_most:.0%} of {acted} automatic decisions"
    return None


def after_review(session: Session, company_id: str, conflict_type: str, at: datetime) -> None:
    """Do what follows from a review: stop the switch where people override too much, alert where accuracy is low."""
    session.flush()
    judge(session, company_id, conflict_type, at)
    watch_accuracy(session, company_id, conflict_type, at)


def watch_accuracy(session: Session, company_id: str, conflict_type: str, at: datetime) -> bool:
    """Alert people and ask for retraining where accuracy is surely below 85 %, once in 30 days; True where it did."""
    switch = session.get(ConflictSwitch, (company_id, conflict_type))
    if switch is None or (switch.alerted_at is not None and switch.alerted_at > at - timedelta(days=DAYS)):
        return False
    found = metrics_of(session, company_id=company_id, at=at, conflict_type=conflict_type)
    detail = too_low(found)
    if detail is None:
        return False
    switch.alerted_at = at
    write_audit(
        session,
        company_id=company_id,
        actor=ACTOR,
        action=RETRAIN,
        subject_type="conflict_switch",
        subject_id=conflict_type,
        before=None,
        after={**found, "detail": detail},
    )
    tell_people(session, switch, f"accuracy is below {LEAST_ACCURACY:.0%}: {detail}", at)
    return True


def retraining_asked(session: Session, received_after: datetime, occurred_after: datetime) -> dict[str, int]:
    """Return how often retraining was asked for since a moment, by company: low accuracy, or a stop."""
    asked = (
        select(AuditEntry.company_id, func.count())
        .where(
            AuditEntry.subject_type == "conflict_switch",
            AuditEntry.action.in_([RETRAIN, STOPPED]),
            AuditEntry.at > max(received_after, occurred_after),
        )
        .group_by(AuditEntry.company_id)
    )
    return {company_id: number for company_id, number in session.execute(asked).all() if company_id is not None}
