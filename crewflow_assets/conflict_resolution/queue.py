"""The conflicts of a company as the HTTP routes answer them: the oldest days first, the largest of a day first."""

from typing import Any, Literal

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.standing import OPEN, REOPENED, RESOLVED
from crewflow_assets.errors import NotFoundError
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.tables import Company

State = Literal["open", "resolved", "all"]
STATES: dict[State, tuple[str, ...]] = {
    "open": (OPEN, REOPENED),
    "resolved": (RESOLVED,),
    "all": (OPEN, REOPENED, RESOLVED),
}


def page_of(
    session: Session,
    *,
    company_id: str,
    state: State,
    conflict_type: str | None,
    limit: int,
    after: str | None = None,
) -> dict[str, Any]:
    """Return a page of a company's conflicts, and how many in all are still to be decided.

    Args:
        session: An open session.
        company_id: Whose conflicts.
        state: ``open`` has the re-opened ones too.
        conflict_type: Of this type alone; None for all.
        limit: How many at most.
        after: The conflict after which the page begins; the ``next`` of the page before.

    Raises:
        NotFoundError: the company is unknown, or has no conflict ``after``.
    """
    if session.get(Company, company_id) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; import its chart or cost codes first")
    of_company = [Conflict.company_id == company_id]
    if conflict_type is not None:
        of_company.append(Conflict.conflict_type == conflict_type)
    query = (
        select(Conflict, ConflictResolution)
        .outerjoin(ConflictResolution, ConflictResolution.id == Conflict.decision_id)
        .where(*of_company, Conflict.state.in_(STATES[state]))
    )
    if after is not None:
        last = session.scalar(
            select(Conflict).where(Conflict.company_id == company_id, Conflict.conflict_id == after)
        )
        if last is None:
            raise NotFoundError(f"company {company_id!r} has no conflict {after!r}")
        smaller = or_(Conflict.size < last.size, and_(Conflict.size == last.size, Conflict.id > last.id))
        query = query.where(
            or_(Conflict.opened_on > last.opened_on, and_(Conflict.opened_on == last.opened_on, smaller))
        )
    rows = session.execute(
        query.order_by(Conflict.opened_on, Conflict.size.desc(), Conflict.id).limit(limit + 1)
    ).all()
    still = select(func.count()).where(*of_company, Conflict.state.in_(STATES["open"]))
    return {
        "items": [answer_of(conflict, standing) for conflict, standing in rows[:limit]],
        "open": session.scalar(still) or 0,
        "next": rows[limit - 1][0].conflict_id if len(rows) > limit else None,
    }


def answer_of(conflict: Conflict, standing: ConflictResolution | None) -> dict[str, Any]:
    """Return a conflict with the resolution that stands; without one where none does."""
    if standing is not None and standing.id != conflict.decision_id:
        standing = None
    return {
        "conflict_id": conflict.conflict_id,
        "company_id": conflict.company_id,
        "conflict_type": conflict.conflict_type,
        "state": conflict.state,
        "crewflow_value": conflict.crewflow_value,
        "external_value": conflict.external_value,
        "worker_id": conflict.worker_id,
        "project_id": conflict.project_id,
        "timecard_date": conflict.timecard_date.isoformat(),
        "record_type": conflict.record_type,
        "record_id": conflict.record_id,
        "opened_at": conflict.opened_at.isoformat(),
        "blind": conflict.blind,
        "reopened_reason": conflict.reopened_reason,
        "edited_at": conflict.edited_at.isoformat() if conflict.edited_at else None,
        "resolution": {"action": standing.action, "value": standing.value} if standing else None,
        "method": standing.method if standing else None,
        "decided_by": standing.decided_by if standing else None,
        "decided_at": standing.decided_at.isoformat() if standing else None,
        "confidence": standing.confidence if standing else None,
        "reason": standing.reason if standing else None,
        "model_version": standing.model_version if standing else None,
        "prediction_id": standing.prediction_id if standing else None,
        "decision_id": standing.id if standing else None,
    }
