"""The audit log: one row for each thing that a person or a model decided."""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.store.tables import AuditEntry


def new_decision_id() -> str:
    """Return a fresh id for a decision."""
    return f"d-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """On what a decision rests; all None for a person who decided unaided."""

    method: str | None = None
    confidence: float | None = None
    model_version: str | None = None
    prediction_id: str | None = None


def write_audit(
    session: Session,
    *,
    company_id: str | None,
    actor: str,
    action: str,
    subject_type: str,
    subject_id: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    grounds: Grounds | None = None,
) -> AuditEntry:
    """Add an audit row to the caller's transaction; without a company it is the platform's own decision."""
    grounds = grounds or Grounds()
    entry = AuditEntry(
        at=clock.now(),
        company_id=company_id,
        actor=actor,
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        before=before,
        after=after,
        method=grounds.method,
        confidence=grounds.confidence,
        model_version=grounds.model_version,
        prediction_id=grounds.prediction_id,
    )
    session.add(entry)
    return entry
