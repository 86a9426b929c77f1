"""What a sync attempt comes to, and what can be seen of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from crewflow_assets.arrays import Bools, Floats, Ints, Singles

TIMEOUT_MS = 30_000.0


class Cause(IntEnum):
    """Why a sync failed: the mechanism behind it, which nobody but the twin knows for sure."""

    NONE = 0
    NETWORK = 1
    API_DOWN = 2
    AUTH = 3
    RATE_LIMIT = 4
    DATA_QUALITY = 5
    TRANSIENT = 6


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """What a failed sync says: class, HTTP status (None where no answer came), message."""

    name: str
    status: int | None
    message: str


ERRORS: tuple[ErrorKind, ...] = (
    ErrorKind("", 200, ""),
    ErrorKind("connection_error", None, "connection reset before an answer came"),
    ErrorKind("timeout", None, "no answer within 30 s"),
    ErrorKind("server_error", 500, "internal server error"),
    ErrorKind("server_error", 502, "bad gateway"),
    ErrorKind("server_error", 503, "service unavailable"),
    ErrorKind("server_error", 504, "gateway timeout"),
    ErrorKind("auth", 401, "the grant was refused: expired or revoked"),
    ErrorKind("rate_limit", 429, "too many requests"),
    ErrorKind("validation", 400, "records were refused"),
)
_SAID: Mapping[Cause, tuple[tuple[int, float], ...]] = {
    Cause.NONE: ((0, 1.0),),
    Cause.NETWORK: ((1, 0.6), (2, 0.4)),
    Cause.API_DOWN: ((5, 0.45), (3, 0.2), (4, 0.1), (6, 0.1), (2, 0.1), (1, 0.05)),
    Cause.AUTH: ((7, 1.0),),
    Cause.RATE_LIMIT: ((8, 1.0),),
    Cause.DATA_QUALITY: ((9, 1.0),),
    Cause.TRANSIENT: ((3, 0.4), (2, 0.4), (1, 0.2)),
}
"""Which errors a cause shows, as places in ``ERRORS`` with their shares: an assumption."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Sync attempts, one element each; NaN where nothing was reported.

    Attributes:
        who: Which integration of the fleet.
        tick: In which tick.
        minute: Since the world's beginning.
        error: Place in ``ERRORS``; 0 means that the sync succeeded.
        latency_ms: Mean of its calls.
        network_latency_ms: To the API's gateway.
        calls: Made.
        calls_left: Of the day, where the API says so.
        hits: Calls that were answered with 429.
        retry_after_seconds: As told.
        records_failed: Refused.
        grant_seconds: Until the grant ends unless it is renewed, as the API's answers tell.
        interval_minutes: At which the integration was set to sync.
        cause: Hidden; a ``Cause``.
        ceiling: Hidden; the probability to fail, to one who knew the hidden state as the tick began.
    """

    who: Ints
    tick: Ints
    minute: Floats
    error: npt.NDArray[np.int8]
    latency_ms: Singles
    network_latency_ms: Singles
    calls: npt.NDArray[np.int32]
    calls_left: Singles
    hits: npt.NDArray[np.int32]
    retry_after_seconds: Singles
    records_failed: npt.NDArray[np.int32]
    grant_seconds: Singles
    interval_minutes: Singles
    cause: npt.NDArray[np.int8]
    ceiling: Singles

    def __len__(self) -> int:
        return len(self.who)

    @property
    def ok(self) -> Bools:
        """Which succeeded."""
        succeeded: Bools = self.error == 0
        return succeeded

    def where(self, chosen: Bools | Ints) -> "Attempts":
        """Return those chosen, by a mask or by their places."""
        return Attempts(*(getattr(self, entry.name)[chosen] for entry in fields(self)))


def joined(parts: Sequence[Attempts]) -> Attempts:
    """Return the attempts of all parts in one; there must be a part."""
    return Attempts(*(np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(Attempts)))


def said(cause: Ints, uniform: Floats) -> npt.NDArray[np.int8]:
    """Return the error that each cause shows: a place in ``ERRORS``."""
    error = np.zeros(len(cause), dtype=np.int8)
    for each, shares in _SAID.items():
        mine = np.flatnonzero(cause == each)
        if len(mine):
            places, weights = zip(*shares, strict=True)
            chosen = np.searchsorted(np.cumsum(weights)[:-1], uniform[mine], side="right")
            error[mine] = np.array(places, dtype=np.int8)[chosen]
    return error
