"""Decisions on the mappings of one company, and what became of them."""

from typing import Any

from sqlalchemy import select

from crewflow_assets.cost_code_mapping.actions import decide, undo
from crewflow_assets.cost_code_mapping.posted import reopen_refused
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry, Company, Mapping, OutboxCommand
from tests.worlds import QUICKBOOKS

COMPANY = "c-1"


def say(action: Any, target: str, *, by: str = "dana", code: str = "16-100.L", **changes: Any) -> dict[str, Any]:
    with transaction() as session:
        return decide(
            session,
            **{
                "company_id": COMPANY,
                "action": action,
                "kind": "cost_code",
                "system": QUICKBOOKS,
                "source_code": code,
                "target_code": target,
                "decided_by": by,
            }
            | changes,
        )


def take_back(decision_id: str, *, by: str = "sam", company_id: str = COMPANY) -> dict[str, Any]:
    with transaction() as session:
        return undo(session, company_id=company_id, decision_id=decision_id, decided_by=by)


def everything(table: Any) -> list[Any]:
    with reading() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def audit() -> list[AuditEntry]:
    return [entry for entry in everything(AuditEntry) if entry.subject_type == "mapping"]


def standing(code: str = "16-100.L") -> Mapping:
    with reading() as session:
        return session.scalars(select(Mapping).where(Mapping.source_code == code)).one()


def revision() -> int:
    with reading() as session:
        return session.get_one(Company, COMPANY).revision


def refuse_last(reason: str = "the payroll period is closed") -> None:
    with transaction() as session:
        command = session.scalars(select(OutboxCommand).order_by(OutboxCommand.id.desc())).first()
        assert command is not None
        reopen_refused(session, command, reason)
