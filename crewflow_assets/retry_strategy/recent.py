"""The sync attempts of the last two hours in memory: read from the inbox once, then what is new every few seconds."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from sys import intern
from typing import Any

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.lake.inbox import EVENTS, Inbox, Turn
from crewflow_assets.retry_strategy.surroundings import LOOK_BACK, Seen
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import connected
from crewflow_assets.store.tables import Event

KEPT = timedelta(seconds=5)
WINDOW = timedelta(minutes=LOOK_BACK)
SLACK = timedelta(minutes=1)
"""Threads do not ask in the order of their moments."""
KIND = "sync_attempt"
COLUMNS = tuple(field.name for field in fields(Seen))


class Recent:
    """The attempts, and the moment at which they were looked for last; threads share it."""

    def __init__(self) -> None:
        self._turn = Turn()
        self._inbox = Inbox([KIND])
        self._since: datetime | None = None
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._ids: Ints = np.zeros(0, np.int64)
        self._seen = _columns([])

    def seen(self, at: datetime) -> Seen:
        """Return the attempts of the two hours before a moment, and later ones, as of at most five seconds ago."""
        with self._turn.taken():
            if self._since is None or at - WINDOW < self._since or at - self._read_at > WINDOW:
                self._begin(at - WINDOW - SLACK)
                self._read_at = at
            elif abs(at - self._read_at) >= KEPT:
                self._inbox.look(self._add)
                self._forget(max(self._since, at - WINDOW - SLACK))
                self._read_at = at
            return self._seen

    def _begin(self, since: datetime) -> None:
        self._since = None
        self._inbox.begin()
        with connected() as connection:
            rows = connection.execute(EVENTS.where(Event.kind == KIND, Event.occurred_at >= since)).all()
        self._keep(_ids(rows), _columns(rows), since)

    def _add(self, rows: Sequence[Any]) -> None:
        known = set(self._ids.tolist()) if rows else set()
        fresh = [row for row in rows if row.id not in known]  # some were read before the first look
        if fresh and self._since is not None:
            new = _columns(fresh)
            seen = {name: np.concatenate([getattr(self._seen, name), getattr(new, name)]) for name in COLUMNS}
            self._keep(np.r_[self._ids, _ids(fresh)], Seen(**seen), self._since)

    def _forget(self, since: datetime) -> None:
        kept: Bools = self._seen.micros >= _micros(since)
        if not kept.all():
            seen = {name: getattr(self._seen, name)[kept] for name in COLUMNS}
            self._keep(self._ids[kept], Seen(**seen), since)

    def _keep(self, ids: Ints, seen: Seen, since: datetime) -> None:
        self._ids, self._seen, self._since = ids, seen, since


def _ids(rows: Sequence[Any]) -> Ints:
    return np.array([row.id for row in rows], np.int64)


def _columns(rows: Sequence[Any]) -> Seen:
    """Return events of attempts as arrays; a name that occurs often is kept once."""
    payloads = [row.payload for row in rows]
    return Seen(
        system=np.array([intern(payload["system"]) for payload in payloads], object),
        company=np.array([intern(row.company_id) for row in rows], object),
        integration=np.array([intern(payload["integration_id"]) for payload in payloads], object),
        micros=np.array([_micros(row.occurred_at) for row in rows], float),
        ok=np.array([payload["ok"] for payload in payloads], bool),
        calls_left=_floats([payload.get("calls_left") for payload in payloads]),
        calls_limit=_floats([payload.get("calls_limit") for payload in payloads]),
    )


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, float)


def _micros(moment: datetime) -> float:
    return float(round(moment.timestamp() * 1e6))


@lru_cache(maxsize=2)
def _recent(_url: str) -> Recent:
    return Recent()


def recent() -> Recent:
    """Return the one of this process and installation."""
    return _recent(get_settings().sqlalchemy_url)
