"""Where conflicts are decided automatically: switches by company and type, the daily cap, and the stop that trips.

Two questions are asked of a switch after each review, both with an exact one-sided binomial test (Clopper & Pearson
1934, doi 10.1093/biomet/26.4.404) of the hypothesis that at most 5 % of automatic decisions are wrong:

- among the last 100 withheld decisions that a person took blind, how many went against the model;
- among the last 100 automatic decisions up to the newest one that was overridden, how many were overridden. Those
  that nobody looked at count as not overridden: silence can make the test late, never early.

Asked after every review, the test of the blind ones stopped in 2 % of 400 simulated runs within 500 reviews at
exactly 5 % wrong (6 % within 2,000), and never at 3 %; at 50 % wrong after 7 reviews (median), at 20 % after 35.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.contract import ConflictType
from crewflow_assets.conflict_resolution.standing import ACTOR, OVERRODE, ResolutionState
from crewflow_assets.errors import NotFoundError
from crewflow_assets.outbox.queue import NewCommand, command_key, enqueue_many
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.conflict_tables import ConflictResolution, ConflictSwitch
from crewflow_assets.store.tables import Company

Mode = Literal["off", "suggest", "automatic"]

WRONG_AT_MOST = 0.05
LAST = 100
ALPHA = 0.001
DAILY_CAP = 500
CAP_WINDOW = timedelta(days=1)
STOPPED, RESTARTED = "conflict.stopped", "conflict.restarted"


def switch_of(session: Session, company_id: str, conflict_type: str) -> ConflictSwitch:
    """Return the switch, stored or not; nothing is automatic before somebody says so."""
    stored = session.get(ConflictSwitch, (company_id, conflict_type))
    if stored is not None:
        return stored
    never = datetime.fromisoformat("2020-01-01T00:00:00+00:00")
    return ConflictSwitch(
        company_id=company_id,
        conflict_type=conflict_type,
        mode="suggest",
        daily_cap=DAILY_CAP,
        set_by="default",
        set_at=never,
        judged_from=never,
    )


def all_of(session: Session, company_id: str) -> list[dict[str, Any]]:
    """Return the switch of each conflict type.

    Raises:
        NotFoundError: the company is unknown.
    """
    if session.get(Company, company_id) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; import its chart or cost codes first")
    return [answer_of(switch_of(session, company_id, name)) for name in get_args(ConflictType)]


def set_switch(
    session: Session,
    *,
    company_id: str,
    conflict_type: ConflictType,
    mode: Mode,
    daily_cap: int | None = None,
    decided_by: str,
    at: datetime,
) -> dict[str, Any]:
    """Say where a company's conflicts of a type are decided automatically; starts one that has stopped again.

    Raises:
        NotFoundError: the company is unknown.
    """
    if session.get(Company, company_id, with_for_update=True) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; import its chart or cost codes first")
    switch = switch_of(session, company_id, conflict_type)
    before = answer_of(switch)
    was_stopped = switch.stopped_at is not None
    switch.mode, switch.set_by, switch.set_at = mode, decided_by, at
    switch.stopped_at = switch.stopped_reason = None
    if daily_cap is not None:
        switch.daily_cap = daily_cap
    if was_stopped:
        switch.judged_from, switch.alerted_at = at, None
    session.add(switch)
    _audit(
        session, switch, RESTARTED if was_stopped and mode == "automatic" else "conflict.switch", decided_by, before
    )
    return answer_of(switch)


def why_not_automatic(session: Session, switch: ConflictSwitch, at: datetime) -> str | None:
    """Return why nothing is decided automatically now, for people; None where it may be."""
    if switch.mode != "automatic":
        return f"automatic resolution of {switch.conflict_type} is set to {switch.mode!r}"
    if switch.stopped_at is not None:
        return f"automatic resolution of {switch.conflict_type} has stopped itself: {switch.stopped_reason}"
    taken = session.scalar(
        select(func.count()).where(
            ConflictResolution.company_id == switch.company_id,
            ConflictResolution.method == "model",
            ConflictResolution.decided_at > at - CAP_WINDOW,
            ConflictResolution.conflict_type == switch.conflict_type,
            ConflictResolution.state != ResolutionState.WITHHELD.value,
        )
    )
    if (taken or 0) >= switch.daily_cap:
        return f"{taken} conflicts were decided automatically within 24 hours, and {switch.daily_cap} is the cap"
    return None


def judge(session: Session, company_id: str, conflict_type: str, at: datetime) -> bool:
    """Stop the switch if people overrode more than chance explains; True where this call has stopped it."""
    switch = session.get(ConflictSwitch, (company_id, conflict_type))
    if switch is None or switch.mode != "automatic" or switch.stopped_at is not None:
        return False
    session.flush()
    for told, (number, wrong) in (
        ("decided blind", _blind(session, switch)),
        ("decided automatically", _acted(session, switch)),
    ):
        if exceeds_chance(wrong, number):
            before = answer_of(switch)
            switch.stopped_at = switch.alerted_at = at
            switch.stopped_reason = f"people overrode {wrong} of the last {number} {told}"
            _audit(session, switch, STOPPED, ACTOR, before)
            tell_people(session, switch, switch.stopped_reason, at)
            return True
    return False


def exceeds_chance(wrong: int, number: int) -> bool:
    """Say whether so many wrong of a number would be seen less than once in 1,000 times at 5 % wrong."""
    from scipy.special import bdtrc

    return wrong > 0 and float(bdtrc(wrong - 1, number, WRONG_AT_MOST)) < ALPHA


def tell_people(session: Session, switch: ConflictSwitch, detail: str, at: datetime) -> None:
    """Send the alert about a switch through the outbox."""
    told = {
        "conflict_type": switch.conflict_type,
        "severity": "warning",
        "message": f"Automatic resolution of {switch.conflict_type.replace('_', ' ')} needs attention: {detail}",
        "detail": detail,
        "stopped": switch.stopped_at is not None,
        "at": at.isoformat(),
    }
    command = NewCommand(
        company_id=switch.company_id,
        record_key=f"switch/{switch.conflict_type}",
        command="conflict.alert",
        payload=told,
        idempotency_key=command_key(switch.company_id, switch.conflict_type, "alert", at.isoformat(), detail),
    )
    enqueue_many(session, [command])


def answer_of(switch: ConflictSwitch) -> dict[str, Any]:
    """Return a switch as the HTTP routes answer it."""
    return {
        "company_id": switch.company_id,
        "conflict_type": switch.conflict_type,
        "mode": switch.mode,
        "daily_cap": switch.daily_cap,
        "set_by": switch.set_by,
        "set_at": switch.set_at.isoformat(),
        "stopped_at": switch.stopped_at.isoformat() if switch.stopped_at else None,
        "stopped_reason": switch.stopped_reason,
    }


def _blind(session: Session, switch: ConflictSwitch) -> tuple[int, int]:
    reviews = session.scalars(
        select(ConflictResolution.review)
        .where(
            *_judged(switch),
            ConflictResolution.state == ResolutionState.WITHHELD.value,
            ConflictResolution.review.is_not(None),
        )
        .order_by(ConflictResolution.reviewed_at.desc())
        .limit(LAST)
    ).all()
    return len(reviews), reviews.count(OVERRODE)


def _acted(session: Session, switch: ConflictSwitch) -> tuple[int, int]:
    acted = (*_judged(switch), ConflictResolution.state != ResolutionState.WITHHELD.value)
    newest = select(func.max(ConflictResolution.decided_at)).where(*acted, ConflictResolution.review == OVERRODE)
    reviews = session.scalars(
        select(ConflictResolution.review)
        .where(*acted, ConflictResolution.decided_at <= newest.scalar_subquery())
        .order_by(ConflictResolution.decided_at.desc())
        .limit(LAST)
    ).all()
    return len(reviews), reviews.count(OVERRODE)


def _judged(switch: ConflictSwitch) -> tuple[Any, ...]:
    return (
        ConflictResolution.company_id == switch.company_id,
        ConflictResolution.method == "model",
        ConflictResolution.decided_at > switch.judged_from,
        ConflictResolution.conflict_type == switch.conflict_type,
    )


def _audit(session: Session, switch: ConflictSwitch, action: str, actor: str, before: dict[str, Any]) -> None:
    write_audit(
        session,
        company_id=switch.company_id,
        actor=actor,
        action=action,
        subject_type="conflict_switch",
        subject_id=switch.conflict_type,
        before=before,
        after=answer_of(switch),
    )
