"""The mappings of one company as a ledger: decisions are checked against it and change it, one by one.

The company's row is locked for the transaction, so that two people at once cannot decide the same item twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.errors import NotFoundError
from crewflow_assets.ingest.event_kinds import EventIn, MappingDecision
from crewflow_assets.ingest.events import record_events
from crewflow_assets.ingest.suggestions import Suggestions
from crewflow_assets.store.audit import Grounds, write_audit
from crewflow_assets.store.tables import Account, Company, Mapping, SourceItem

Item = tuple[str, str, str]  # kind, source code, system
PERSON = ("person", "import")
COMPARISONS = 100_000
"""How many known names unknown ones are compared with at most, 0.4 to 3 seconds: the write lock is held meanwhile."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision with the event id under which it is recorded and the moment at which it was taken."""

    decision_id: str
    at: datetime
    decision: MappingDecision


def snapshot(mapping: Mapping | None) -> dict[str, Any] | None:
    """Return what the audit log keeps of a mapping, enough to restore it."""
    if mapping is None:
        return None
    return {
        "target_code": mapping.target_code,
        "method": mapping.method,
        "decision_id": mapping.decision_id,
        "decided_by": mapping.decided_by,
        "decided_at": mapping.decided_at.isoformat(),
        "reopened_reason": mapping.reopened_reason,
    }


def subject_of(item: Item) -> str:
    """Return the audit log's and the outbox's name of an item's mapping."""
    kind, source_code, system = item
    return f"{system}/{kind}/{source_code}"


class MappingLedger:
    """The items, accounts and mappings of one company within a transaction.

    The ledgers of one transaction share their ``suggestions``.
    """

    def __init__(self, session: Session, company_id: str, suggestions: Suggestions | None = None) -> None:
        company = session.get(Company, company_id, with_for_update=True)
        if company is None:
            raise NotFoundError(f"company {company_id!r} is unknown; import its chart and cost codes first")
        self.session = session
        self.company = company
        self._suggestions = suggestions or Suggestions(COMPARISONS)
        item_columns = (SourceItem.kind, SourceItem.code, SourceItem.deactivated_at)
        account_columns = (Account.system, Account.code, Account.deactivated_at)
        self.items = {
            (kind, code): gone_at
            for kind, code, gone_at in session.execute(
                select(*item_columns).where(SourceItem.company_id == company_id)
            )
        }
        self.accounts = {
            (system, code): gone_at
            for system, code, gone_at in session.execute(
                select(*account_columns).where(Account.company_id == company_id)
            )
        }
        self.mappings: dict[Item, Mapping] = {
            (m.kind, m.source_code, m.system): m
            for m in session.scalars(select(Mapping).where(Mapping.company_id == company_id))
        }

    def problem_with(self, decision: MappingDecision) -> tuple[str, str] | None:
        """Return the field that names something unknown, and what to do about it; None if all is known."""
        if (decision.kind, decision.source_code) not in self.items:
            known = (code for kind, code in self.items if kind == decision.kind)
            lacks = f"company {self.company.id!r} has no {decision.kind.replace('_', ' ')}"
            return "source_code", f"{self._missing(lacks, decision.source_code, known)}; import it first"
        if decision.target_code is not None and (decision.system, decision.target_code) not in self.accounts:
            known = (code for system, code in self.accounts if system == decision.system)
            lacks = f"the {decision.system} chart of company {self.company.id!r} has no account"
            return "target_code", f"{self._missing(lacks, decision.target_code, known)}; import the chart first"
        return None

    def _missing(self, lacks: str, wanted: str, known: Iterable[str]) -> str:
        """Say that something is lacking, and what is known that is spelt alike."""
        near = self._suggestions.nearest(lacks, wanted, known)
        return f"{lacks} {wanted!r}{f', nearest is {near!r}' if near else ''}"

    def out_of_use(self, decision: MappingDecision) -> tuple[str, str] | None:
        """Return the field that names something deactivated, and what to do about it; history may name it."""
        for field, gone_at in (
            ("source_code", self.items[decision.kind, decision.source_code]),
            ("target_code", decision.target_code and self.accounts[decision.system, decision.target_code]),
        ):
            if isinstance(gone_at, datetime):
                value = getattr(decision, field)
                return (
                    field,
                    f"{value!r} is out of use since {gone_at:%Y-%m-%d}; import the list with it to use it again",
                )
        return None

    def apply(self, decided: Decided, *, model_version: str | None = None) -> Mapping | None:
        """Let the decision stand unless the item was decided later, or by a person where this is automatic.

        Returns:
            The mapping as it now is, with an audit row; None when another decision stands and this is only history.
        """
        decision = decided.decision
        item: Item = (decision.kind, decision.source_code, decision.system)
        mapping = self.mappings.get(item)
        if mapping is not None and (mapping.decided_at > decided.at or _outranks(mapping, decision)):
            return None
        before = snapshot(mapping)
        if mapping is None:
            mapping = Mapping(
                company_id=self.company.id, kind=item[0], source_code=item[1], system=item[2], reopened_reason=None
            )
            self.session.add(mapping)
            self.mappings[item] = mapping
        mapping.target_code = decision.target_code
        mapping.method = decision.method if decision.target_code is not None else None
        mapping.decision_id = decided.decision_id
        mapping.decided_by = decision.decided_by
        mapping.decided_at = decided.at
        mapping.reopened_reason = None
        self.company.revision += 1
        write_audit(
            self.session,
            company_id=self.company.id,
            actor=decision.decided_by,
            action=f"mapping.{decision.action}",
            subject_type="mapping",
            subject_id=subject_of(item),
            before=before,
            after=snapshot(mapping),
            grounds=Grounds(
                method=decision.method,
                confidence=decision.confidence,
                model_version=model_version,
                prediction_id=decision.prediction_id,
            ),
        )
        return mapping


def record_decided(session: Session, changes: Sequence[tuple[MappingLedger, Decided]]) -> None:
    """Record decisions as the events that they are, which training reads; nothing else acts on these."""
    events = [
        EventIn(
            event_id=decided.decision_id,
            kind="mapping_decision",
            company_id=ledger.company.id,
            occurred_at=decided.at,
            payload=decided.decision.model_dump(mode="json"),
        )
        for ledger, decided in changes
    ]
    record_events(session, events, handlers={})


def _outranks(standing: Mapping, decision: MappingDecision) -> bool:
    """Say whether a person's mapping stands against an automatic decision."""
    automatic = decision.action != "undo" and decision.method not in PERSON
    return automatic and standing.target_code is not None and standing.method in PERSON
