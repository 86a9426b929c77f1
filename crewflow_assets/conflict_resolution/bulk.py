"""Taking many automatic decisions back at once: by model version, time, company and type.

Some thousand conflicts are one transaction, written with a few statements: people's own decisions wait for a second,
not for all of it. What was taken back no longer matches, so a run that died is finished by running it again. What an
undo is stands in the ledger; here its results are written without the session's bookkeeping of objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select, update
from sqlalchemy.orm import Session, aliased

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.ledger import ConflictLedger
from crewflow_assets.conflict_resolution.metrics import after_review
from crewflow_assets.conflict_resolution.standing import AGREED, ResolutionState
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.database import batched, reading, transaction

PART = 2_000
MOST_REFUSED = 1_000
CONFLICT_COLUMNS = ("state", "decision_id", "reopened_reason", "crewflow_command", "external_command")
RESOLUTION_COLUMNS = ("state", "ended_at", "ended_by", "ended_reason", "review", "reviewed_at", "reviewed_by")

Pair = tuple[Conflict, ConflictResolution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which automatic decisions to take back: those that meet every condition given, moments included."""

    company_id: str | None = None
    model_version: str | None = None
    conflict_type: str | None = None
    decided_after: datetime | None = None
    decided_before: datetime | None = None

    def check(self) -> None:
        """Refuse to take everything back by mistake.

        Raises:
            InvalidInputError: neither a version nor a beginning is given, or the beginning lies after the end.
        """
        begin, end = self.decided_after, self.decided_before
        if self.model_version is None and begin is None:
            text = "missing, and so is decided_after; say which decisions to take back by at least one of them"
            raise InvalidInputError(f"model_version: {text}", (FieldProblem(("model_version",), text),))
        if begin is not None and end is not None and begin > end:
            text = f"{begin.isoformat()} lies after decided_before, {end.isoformat()}"
            raise InvalidInputError(f"decided_after: {text}", (FieldProblem(("decided_after",), text),))


def undo_many(chosen: Selection, *, decided_by: str, dry_run: bool = False) -> dict[str, Any]:
    """Take back all automatic decisions of a selection that stand, and say which could not be taken back.

    Refused are decisions that a person has confirmed, and those whose record was edited, or is in conflict again,
    since; at most ``MOST_REFUSED`` of them are listed. With ``dry_run`` nothing is changed.

    Raises:
        InvalidInputError: as ``Selection.check``.
    """
    chosen.check()
    free = [~condition for condition in _stays()]
    with reading() as session:
        found = session.execute(_matching(chosen, Conflict.id, Conflict.company_id).where(*free)).all()
    by_company = sorted((company_id, key) for key, company_id in found)
    undone = len(by_company) if dry_run else 0
    judged: set[tuple[str, str]] = set()
    for part in batched(by_company, PART) if not dry_run else ():
        pairs = _undo_part(chosen, part, decided_by=decided_by)
        undone += len(pairs)
        judged |= {(conflict.company_id, conflict.conflict_type) for conflict, _ in pairs}
    for company_id, conflict_type in sorted(judged):
        with transaction() as session:
            ledger = ConflictLedger(session, [company_id], clock.now())
            after_review(session, company_id, conflict_type, ledger.at)
    with reading() as session:
        refused = [
            {"conflict_id": name, "detail": "; ".join(text for holds, text in zip(why, WHY, strict=True) if holds)}
            for name, *why in session.execute(
                _matching(chosen, Conflict.conflict_id, *_stays()).where(or_(*_stays())).order_by(Conflict.id)
            )
        ]
    return {
        "undone": undone,
        "refused": refused[:MOST_REFUSED],
        "refused_in_all": len(refused),
        "dry_run": dry_run,
    }


WHY = ("the record was edited since", "a person has confirmed it", "the record is in conflict again since")


def _stays() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which a decision has to stay as it is, in the order of ``WHY``."""
    later = aliased(Conflict)
    again = (
        select(later.id)
        .where(
            later.company_id == Conflict.company_id,
            later.record_type == Conflict.record_type,
            later.record_id == Conflict.record_id,
            later.conflict_type == Conflict.conflict_type,
            later.opened_at > Conflict.opened_at,
        )
        .exists()
    )
    confirmed = and_(ConflictResolution.review.is_not(None), ConflictResolution.review == AGREED)
    return Conflict.edited_at.is_not(None), confirmed, again


def _matching(chosen: Selection, *columns: Any) -> Select[Any]:
    query = (
        select(*columns)
        .select_from(ConflictResolution)
        .join(Conflict, Conflict.id == ConflictResolution.conflict)
        .where(ConflictResolution.method == "model", ConflictResolution.state == ResolutionState.IN_FORCE.value)
    )
    for column, value in (
        (ConflictResolution.company_id, chosen.company_id),
        (ConflictResolution.model_version, chosen.model_version),
        (ConflictResolution.conflict_type, chosen.conflict_type),
    ):
        if value is not None:
            query = query.where(column == value)
    if chosen.decided_after is not None:
        query = query.where(ConflictResolution.decided_at >= chosen.decided_after)
    if chosen.decided_before is not None:
        query = query.where(ConflictResolution.decided_at <= chosen.decided_before)
    return query


def _undo_part(chosen: Selection, part: Sequence[tuple[str, int]], *, decided_by: str) -> Sequence[Pair]:
    """Take some decisions back, those that still may be, in a transaction of their own.

    Args:
        chosen: The selection.
        part: Companies, which are locked first, and keys of conflicts.
        decided_by: Who takes them back.
    """
    with transaction() as session:
        ledger = ConflictLedger(session, [company_id for company_id, _ in part], clock.now())
        still = [Conflict.id.in_([key for _, key in part]), *(~condition for condition in _stays())]
        query = _matching(chosen, Conflict, ConflictResolution).where(*still).order_by(Conflict.id)
        pairs = [(conflict, resolution) for conflict, resolution in session.execute(query)]
        session.expunge_all()
        for conflict, resolution in pairs:
            ledger.take_back(conflict, resolution, by=decided_by)
        _write(session, pairs)
        ledger.close()
    return pairs


def _write(session: Session, part: Sequence[Pair]) -> None:
    if not part:
        return
    connection = session.connection()
    ended = part[0][1]  # all alike: taken back by one person at one moment
    connection.execute(
        update(ConflictResolution)
        .where(ConflictResolution.id.in_([resolution.id for _, resolution in part]))
        .values({name: getattr(ended, name) for name in RESOLUTION_COLUMNS})
    )
    connection.execute(
        update(Conflict)
        .where(Conflict.id == bindparam("key"))
        .values({name: bindparam(f"new_{name}") for name in CONFLICT_COLUMNS}),
        [
            {"key": conflict.id} | {f"new_{name}": getattr(conflict, name) for name in CONFLICT_COLUMNS}
            for conflict, _ in part
        ],
    )
