"""The review queue: the items of a company, those still to review first, with progress ("47 of 200")."""

from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from crewflow_assets.errors import NotFoundError
from crewflow_assets.store.tables import Account, Company, Mapping, SourceItem

State = Literal["review", "mapped", "all"]


def review_queue(
    session: Session,
    *,
    company_id: str,
    kind: str,
    system: str,
    state: State = "review",
    limit: int = 50,
    after: str | None = None,
) -> dict[str, Any]:
    """Return a page of active items in the order of their codes, and how many of all are mapped.

    Args:
        session: An open session.
        company_id: Whose items.
        kind: ``cost_code`` or ``project``.
        system: The accounting system that they are mapped to.
        state: Which of them.
        limit: How many at most.
        after: The code after which the page begins; the ``next`` of the page before.

    Raises:
        NotFoundError: the company is unknown.
    """
    if session.get(Company, company_id) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; import its chart and cost codes first")
    joined = (
        select(SourceItem, Mapping, Account.name)
        .outerjoin(
            Mapping,
            and_(
                Mapping.company_id == SourceItem.company_id,
                Mapping.kind == SourceItem.kind,
                Mapping.source_code == SourceItem.code,
                Mapping.system == system,
            ),
        )
        .outerjoin(
            Account,
            and_(
                Account.company_id == SourceItem.company_id,
                Account.system == system,
                Account.code == Mapping.target_code,
            ),
        )
        .where(SourceItem.company_id == company_id, SourceItem.kind == kind, SourceItem.deactivated_at.is_(None))
    )
    is_mapped: ColumnElement[bool] = Mapping.target_code.is_not(None)
    total = session.scalar(select(func.count()).select_from(joined.subquery())) or 0
    mapped = session.scalar(select(func.count()).select_from(joined.where(is_mapped).subquery())) or 0
    page = joined if state == "all" else joined.where(is_mapped if state == "mapped" else ~is_mapped)
    if after is not None:
        page = page.where(SourceItem.code > after)
    rows = session.execute(page.order_by(SourceItem.code).limit(limit + 1)).all()
    items = [_item(item, mapping, name) for item, mapping, name in rows[:limit]]
    return {
        "items": items,
        "mapped": mapped,
        "total": total,
        "next": items[-1]["source_code"] if len(rows) > limit else None,
    }


def _item(item: SourceItem, mapping: Mapping | None, target_name: str | None) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "source_code": item.code,
        "name": item.name,
        "description": item.description,
        "group": item.group_name,
        "project_type": item.project_type,
        "state": "mapped" if mapping is not None and mapping.target_code is not None else "review",
        "target_code": mapping.target_code if mapping else None,
        "target_name": target_name,
        "method": mapping.method if mapping else None,
        "decision_id": mapping.decision_id if mapping else None,
        "decided_by": mapping.decided_by if mapping else None,
        "decided_at": mapping.decided_at.isoformat() if mapping else None,
        "reopened_reason": mapping.reopened_reason if mapping else None,
    }
