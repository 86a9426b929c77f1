"""What was known of a conflict at a moment.

Training and serving feed the same events (``conflict``, ``conflict_decision``, ``record_version``) to the same
``History``: training in the order in which they happened, with the case as it stood when the conflict was reported;
serving as they come in.
"""

import json
import logging
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import Any

from sqlalchemy import Row, bindparam, func, select
from sqlalchemy.orm import Session

from crewflow_assets.conflict_resolution.case import Case
from crewflow_assets.conflict_resolution.contract import ConflictRequest
from crewflow_assets.conflict_resolution.history import Decided, History, Told
from crewflow_assets.lake import inbox
from crewflow_assets.settings import get_settings
from crewflow_assets.store.tables import Event

KINDS = ("record_version", "conflict", "conflict_decision")
SETTLE_EVERY_SECONDS = 60.0
TELL_EVERY_SECONDS = 60.0
MOST_COMPANIES = 2_000
FAR_BEHIND = 10_000
"""Events of all companies beyond which a company's new ones are looked up among its own."""
_EVENTS = select(Event.id, Event.company_id, Event.kind, Event.occurred_at, Event.payload).order_by(Event.id)
OF_ONE = _EVENTS.where(Event.company_id == bindparam("company"), Event.kind.in_(KINDS), Event.id > bindparam("after"))
NEWER = _EVENTS.where(
    Event.id > bindparam("after"),  # by this index: the others know no newest events, so they are hidden
    (Event.company_id + "").in_(bindparam("companies", expanding=True)),
    (Event.kind + "").in_(KINDS),
)
NEWEST = select(func.max(Event.id))

logger = logging.getLogger("crewflow.conflicts")


def cases_of(session: Session, requests: Sequence[ConflictRequest], at: datetime) -> list[Case]:
    """Return what is known of conflicts that are asked about, in order."""
    with _turn.taken():  # predictions are made in several threads
        return _cases_of(session, requests, at)


def _cases_of(session: Session, requests: Sequence[ConflictRequest], at: datetime) -> list[Case]:
    kept = _kept(str(session.get_bind().engine.url))
    histories = kept.of(session, {request.company_id for request in requests})
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


class _Kept:
    """The histories of one database's companies, as far as they were fed."""

    def __init__(self) -> None:
        self._fed: OrderedDict[str, tuple[int, History]] = OrderedDict()
        """By company, up to which event of the inbox, and the history; those asked about last at the end."""
        self._events: Counter[str] = Counter()
        """How many events each was fed."""
        self._settled = 0
        """Nothing is committed any more before this event."""
        self._settle_at = 0.0
        self._let_go = 0
        """Histories let go of since that was told last."""
        self._tell_at = 0.0

    def of(self, session: Session, companies: Set[str]) -> dict[str, History]:
        """Return the histories of companies, brought up to date with the events that are new.

        Events of one company are written while its row is locked, so their ids grow in the order of their commits.
        """
        settled = self._settle(session)
        for company in companies:
            self._fed.setdefault(company, (0, History()))
            self._fed.move_to_end(company)
        marks = {company: self._fed[company][0] for company in companies}
        behind = {company for company, mark in marks.items() if not mark or settled - mark > FAR_BEHIND}
        for company in behind:
            self._feed(session.execute(OF_ONE, {"company": company, "after": marks[company]}))
        if near := companies - behind:
            after = min(marks[company] for company in near)
            self._feed(session.execute(NEWER, {"companies": list(near), "after": after}))
        found = {}
        for company in companies:
            last, found[company] = self._fed[company]
            self._fed[company] = max(last, settled), found[company]
        self._forget(len(companies))
        return found

    def _forget(self, needed: int) -> None:
        """Let go of the histories that were not asked about for longest, where more are kept than may be.

        The companies that are asked about now stay, the last of the order, however many events they have.
        """
        most = get_settings().conflict_events_kept
        while len(self._fed) > needed and (len(self._fed) > MOST_COMPANIES or self._events.total() > most):
            company, _ = self._fed.popitem(last=False)
            del self._events[company]
            self._let_go += 1
        if self._let_go and monotonic() >= self._tell_at:
            logger.warning(
                "histories of conflicts let go of: %d, kept: %d companies with %d events; who is asked about again "
                "waits until all its events are read anew, unless CREWFLOW_CONFLICT_EVENTS_KEPT (%d) is raised",
                self._let_go,
                len(self._fed),
                self._events.total(),
                most,
            )
            self._let_go, self._tell_at = 0, monotonic() + TELL_EVERY_SECONDS

    def _feed(self, rows: Iterable[Row[int, str, str, datetime, dict[str, Any]]]) -> None:
        for id_, company, kind, at, payload in rows:
            last, history = self._fed[company]
            if id_ > last:
                history.feed(company, kind, at, payload)
                self._fed[company] = id_, history
                self._events[company] += 1

    def _settle(self, session: Session) -> int:
        """Return the event where the next look may begin, so that it goes through minutes and not months.

        SQLite has one writer at a time: before the newest event nothing is committed any more. Elsewhere that is
        known after some minutes, and looked up once a minute.
        """
        if session.get_bind().dialect.name == "sqlite":
            return session.scalar(NEWEST) or 0
        if monotonic() >= self._settle_at:
            self._settled = inbox.settled(session)
            self._settle_at = monotonic() + SETTLE_EVERY_SECONDS
        return self._settled


_turn = inbox.Turn()


@lru_cache(maxsize=8)
def _kept(_url: str) -> _Kept:
    return _Kept()
