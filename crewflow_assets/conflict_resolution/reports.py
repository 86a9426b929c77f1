"""Reports of conflicts: whether they are any, and keeping them, from whichever door they come through."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from crewflow_assets.conflict_resolution.contract import Contradiction
from crewflow_assets.conflict_resolution.ledger import ConflictLedger, conflicts_named
from crewflow_assets.conflict_resolution.standing import OPEN, REOPENED, RESOLVED
from crewflow_assets.errors import ConflictError
from crewflow_assets.ingest.event_kinds import ConflictRecorded
from crewflow_assets.store.conflict_tables import Conflict

CLOCKS_APART = timedelta(minutes=5)
"""By so much the clock that told the last sync may be ahead of the one that told the report."""


def problems_of(conflict: ConflictRecorded, at: datetime) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the fields of a report that do not contradict, or do not fit its type or moment, with what is wrong."""
    if set(conflict.values) != {"crewflow", "external"}:
        return [(("values",), f"has {sorted(conflict.values)}; name the values of crewflow and external")]
    fields = conflict.model_dump(include=set(Contradiction.model_fields))
    told = {"crewflow_value": conflict.values["crewflow"], "external_value": conflict.values["external"]}
    try:
        Contradiction.model_validate(fields | told)
    except ValidationError as error:
        return [(tuple(found["loc"]), found["msg"].removeprefix("Value error, ")) for found in error.errors()]
    if conflict.last_sync_timestamp > at + CLOCKS_APART:
        synced = conflict.last_sync_timestamp.isoformat()
        return [
            (("last_sync_timestamp",), f"{synced} is later than the report itself ({at.isoformat()}); check clocks")
        ]
    return []


def keep_report(
    ledger: ConflictLedger, company_id: str, told: ConflictRecorded, at: datetime, *, by: str
) -> Conflict:
    """Make a reported conflict known, or let an undecided one have the values that its record holds now.

    Raises:
        ConflictError: the id belongs to another record or to a resolved conflict, or the record has an undecided one.
    """
    session = ledger.session
    known = conflicts_named(session, company_id, [told.conflict_id]).get(told.conflict_id)
    columns = _columns(told)
    if known is not None:
        if same_report(known, told):
            return known
        if (known.conflict_type, known.record_id) != (told.conflict_type, told.record_id):
            raise ConflictError(
                f"conflict {told.conflict_id!r} is about another record; give this one an id of its own"
            )
        if known.state == RESOLVED:
            raise ConflictError(
                f"conflict {told.conflict_id!r} is resolved (decision {known.decision_id!r}); report what came up "
                "since under an id of its own"
            )
        seen = {"crewflow_seen_at": at, "external_seen_at": at}
        ledger.change(known, "conflict.refresh", by=by, **columns, **seen, edited_at=None, size=_size(told))
        return known
    if told.record_id is not None:
        same = (
            Conflict.company_id == company_id,
            Conflict.record_type == told.record_type,
            Conflict.record_id == told.record_id,
            Conflict.conflict_type == told.conflict_type,
            Conflict.state.in_([OPEN, REOPENED]),
        )
        if (other := session.scalar(select(Conflict.conflict_id).where(*same))) is not None:
            raise ConflictError(
                f"{told.record_type} {told.record_id!r} has the undecided conflict {other!r} of this type already; "
                "report its new values under that id"
            )
    conflict = Conflict(
        company_id=company_id,
        conflict_id=told.conflict_id,
        conflict_type=told.conflict_type,
        state=OPEN,
        record_type=told.record_type,
        record_id=told.record_id,
        opened_at=at,
        opened_on=at.date(),
        size=_size(told),
        blind=False,
        **columns,
    )
    ledger.add(conflict, by=by)
    return conflict


def _columns(told: ConflictRecorded) -> dict[str, Any]:
    same = told.model_dump(
        exclude={"conflict_id", "conflict_type", "record_type", "record_id", "values"},
    )
    return {**same, "crewflow_value": told.values["crewflow"], "external_value": told.values["external"]}


def same_report(known: Conflict, told: ConflictRecorded) -> bool:
    """Say whether a report has nothing new."""
    about = (known.conflict_type, known.record_type, known.record_id)
    if about != (told.conflict_type, told.record_type, told.record_id) or known.edited_at is not None:
        return False
    return all(getattr(known, name) == value for name, value in _columns(told).items())


def _size(told: ConflictRecorded) -> float:
    """Return how much is at stake: the difference of two numbers, or the one number there is; 0 for codes."""
    numbers = [v for v in told.values.values() if isinstance(v, float | int)]
    if len(numbers) == 2 and numbers[0] != numbers[1]:
        return abs(numbers[0] - numbers[1])
    return max((abs(number) for number in numbers), default=0.0)
