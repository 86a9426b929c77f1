"""What was known of a conflict at a moment.

Training and serving feed the same events (``conflict``, ``conflict_decision``, ``record_version``) to the same
``History``: training in the order in which they happened, with the case as it stood when the conflict was reported;
serving as they come in.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.case import Case
from crewflow_assets.conflict_resolution.contract import ConflictRequest
from crewflow_assets.conflict_resolution.history import Decided, History, Told
from crewflow_assets.store.tables import Event

KINDS = ("record_version", "conflict", "conflict_decision")


def cases_of(session: Session, requests: Sequence[ConflictRequest], at: datetime) -> list[Case]:
    """Return what is known of conflicts that are asked about, in order."""
    with _lock:  # predictions are made in several threads
        return _cases_of(session, requests, at)


def _cases_of(session: Session, requests: Sequence[ConflictRequest], at: datetime) -> list[Case]:
    histories = {company: _history_of(session, company) for company in {r.company_id for r in requests}}
    return [
        histories[request.company_id].case_of(
            Told(
                conflict_type=request.conflict_type,
                crewflow_value=request.crewflow_value,
                external_value=request.external_value,
                worker_id=request.worker_id,
                project_id=request.project_id,
                day=request.timecard_date,
                crewflow_updated_at=request.crewflow_updated_at,
                external_updated_at=request.external_updated_at,
                last_sync_timestamp=request.last_sync_timestamp,
            ),
            at,
        )
        for request in requests
    ]


def decided_cases(cutoff: datetime) -> Iterator[Decided]:
    """Yield the conflicts that people decided before a moment, by company and time, from the lake.

    Raises:
        NotReadyError: the lake holds no conflicts or decisions.
    """
    yield from decided_in(_lake_events(cutoff))


def decided_in(events: Iterator[tuple[str, datetime, str, Mapping[str, Any]]]) -> Iterator[Decided]:
    """Yield the conflicts that people decided in a stream of events (company, moment, kind, payload) by time."""
    histories: dict[str, History] = defaultdict(History)
    for company, at, kind, payload in events:
        found = histories[company].feed(company, kind, at, payload)
        if found is not None:
            yield found


def _lake_events(cutoff: datetime) -> Iterator[tuple[str, datetime, str, Mapping[str, Any]]]:
    from crewflow_assets.errors import NotReadyError
    from crewflow_assets.lake.events import read_events

    found: list[tuple[str, datetime, int, str, Mapping[str, Any]]] = []
    for order, kind in enumerate(KINDS):
        try:
            table = read_events(kind, before=cutoff).to_pyarrow()
        except NotReadyError:
            if kind == "record_version":
                continue  # third records are evidence, not a condition
            raise
        for row in table.to_pylist():
            if "values" in row:
                row["values"] = json.loads(row["values"])
            found.append((row["company_id"], row["occurred_at"], order, kind, row))
    found.sort(key=lambda event: event[:3])
    for company, at, _, kind, row in found:
        yield company, at, kind, row


_lock = Lock()
_histories: dict[str, tuple[int, History]] = {}
"""By database and company: the newest event that was fed, and the history."""


def _history_of(session: Session, company_id: str) -> History:
    """Return a company's history, brought up to date with the events that are new.

    Events of one company are written while its row is locked, so their ids grow in the order of their commits.
    """
    key = f"{session.get_bind().engine.url}/{company_id}"
    last, history = _histories.get(key, (0, History()))
    rows = session.execute(
        select(Event.id, Event.kind, Event.occurred_at, Event.payload)
        .where(Event.company_id == company_id, Event.kind.in_(KINDS), Event.id > last)
        .order_by(Event.id)
    ).all()
    if rows:
        for _, kind, at, payload in rows:
            history.feed(company_id, kind, at, payload)
        last = rows[-1][0]
    _histories[key] = (last, history)
    return history
