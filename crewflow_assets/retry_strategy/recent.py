"""The sync attempts of the last two hours, from the inbox: kept for some seconds, so that a burst reads them once."""

import threading
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from sqlalchemy import select

from crewflow_assets.retry_strategy.surroundings import LOOK_BACK, Seen
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Event

KEPT = timedelta(seconds=5)


class Recent:
    """What was read last, and when; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at: datetime | None = None
        self._seen: Seen | None = None

    def seen(self, at: datetime) -> Seen:
        """Return the attempts of the two hours before a moment, as they were at most five seconds ago."""
        with self._lock:
            if self._seen is None or self._read_at is None or not self._read_at <= at < self._read_at + KEPT:
                self._seen, self._read_at = read(at), at
            return self._seen


def read(at: datetime) -> Seen:
    """Read the attempts of the two hours before a moment."""
    fields = Event.payload
    query = select(
        Event.company_id,
        Event.occurred_at,
        fields["integration_id"].as_string(),
        fields["system"].as_string(),
        fields["ok"].as_boolean(),
        fields["calls_left"].as_float(),
        fields["calls_limit"].as_float(),
    ).where(
        Event.kind == "sync_attempt",
        Event.occurred_at >= at - timedelta(minutes=LOOK_BACK),
        Event.occurred_at < at,
    )
    with reading() as session:
        rows = session.execute(query).all()
    company, moment, integration, system, ok, left, limit = zip(*rows, strict=True) if rows else ((),) * 7
    return Seen(
        system=np.array(system, object),
        company=np.array(company, object),
        integration=np.array(integration, object),
        micros=np.array([round(one.timestamp() * 1e6) for one in moment], float),
        ok=np.array(ok, bool),
        calls_left=np.array(left, float),
        calls_limit=np.array(limit, float),
    )


@lru_cache(maxsize=2)
def _recent(_url: str) -> Recent:
    return Recent()


def recent() -> Recent:
    """Return the one of this process and installation."""
    return _recent(get_settings().sqlalchemy_url)
