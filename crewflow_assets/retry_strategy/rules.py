"""What the model never overrides: which errors are not repeated, the retry budget, the circuit breaker. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from crewflow_assets.retry_strategy.contract import Alternative, ErrorClass, ReleaseOn
from crewflow_assets.retry_strategy.delays import LONGEST

NEVER: Mapping[ErrorClass, tuple[Alternative, str]] = {
    "token_expired": (
        "use_fallback",
        "the access token's life is over: get a new one with the refresh token, then make the call anew",
    ),
    "auth": (
        "queue_for_manual",
        "the access was refused, which no repetition changes: someone has to connect the company again or give the "
        "permission",
    ),
    "subscription": (
        "queue_for_manual",
        "the customer's subscription at the vendor has ended or is unpaid, which no repetition changes",
    ),
    "validation": (
        "queue_for_manual",
        "the content was refused, which no repetition changes: someone has to correct the record",
    ),
    "not_found": (
        "queue_for_manual",
        "the record, or one it refers to, is gone or inactive: someone has to choose another",
    ),
    "conflict": (
        "use_fallback",
        "the record was changed since it was read: read it again and apply the change to the new version",
    ),
    "duplicate": (
        "use_fallback",
        "such a record is there already, perhaps from an earlier attempt: look it up and take it up",
    ),
    "closed_period": (
        "queue_for_manual",
        "the period is closed, which no repetition changes: someone has to reopen it or move the entry",
    ),
}
"""Classes that are not retried unchanged, whatever the model says, with what is done instead and why."""

RELEASED_ON: Mapping[ErrorClass, ReleaseOn] = {
    "auth": "reauthorised",
    "subscription": "reauthorised",
    "validation": "record_edited",
    "not_found": "record_edited",
    "closed_period": "record_edited",
}
"""Classes that a person mends, with what has to be seen before such a call is made once more."""

LOOK_UP = (
    "whether the write took effect is not known, and it has no idempotency key: look it up before repeating it, and "
    "go on looking it up until that is answered"
)
UNKNOWN_OUTCOME: frozenset[ErrorClass] = frozenset({"timeout", "network", "server_error", "unknown"})
"""Classes after which a write may have taken effect."""
REFUSED_FIRST = (429, 503)
"""Statuses of a call that was turned away before it was worked on."""

CAPACITY = 60.0
"""Retries that an API's budget holds when it is full: a burst."""
PER_MINUTE: Mapping[str, float] = {"quickbooks": 50.0, "sage": 10.0, "xero": 6.0}
"""Retries a minute that come back to the budget of one company at one API: a tenth of the calls that it allows (500,
100 and 60 a minute). One in ten is the retry ratio of Google's SRE book (ch. 21, "Handling Overload") and of gRPC's
retry throttling (gRFC A6, tokenRatio 0.1); the token bucket is that of AWS's SDKs (retry quota)."""
PER_MINUTE_ELSEWHERE = 6.0

BREAKER_CLASSES: frozenset[ErrorClass] = frozenset({"server_error", "timeout", "network", "tls", "unknown"})
BREAKER_FEWEST = 10
BREAKER_SHARE = 0.8
"""The breaker of an API is open while so many of its other customers' syncs, or more, failed in 15 minutes."""
PROBE_SECONDS = 60.0
"""While it is open, one retry in this time goes out: a probe (M. Nygard, Release It!, 2nd ed. 2018, ch. 5)."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """That a call is not retried unchanged, what is done instead, why, and what would let it be made once more."""

    alternative: Alternative
    why: str
    release_on: ReleaseOn | None = None


def forbidden(
    error_class: ErrorClass, *, status: int | None, write: bool, idempotent: bool, retry_after: float | None
) -> Ruling | None:
    """Return why a call must not be retried, or None where it may.

    Args:
        error_class: Of the failure.
        status: HTTP status; None where no answer came.
        write: Whether it creates or changes something.
        idempotent: Whether the API recognises its repetition.
        retry_after: Seconds that the API asks to wait.
    """
    if error_class in NEVER:
        return Ruling(*NEVER[error_class], release_on=RELEASED_ON.get(error_class))
    if write and not idempotent and error_class in UNKNOWN_OUTCOME and status not in REFUSED_FIRST:
        return Ruling("use_fallback", LOOK_UP)
    if retry_after is not None and retry_after >= LONGEST:
        return Ruling(
            "queue_for_manual",
            f"the API asks to wait {retry_after / 3600:.0f} hours, longer than the {LONGEST / 3600:.0f} that a retry "
            "is planned for",
        )
    return None


@dataclass(frozen=True, slots=True)
class Budget:
    """The retry budget of one company at one API; ``at`` in seconds of any clock."""

    tokens: float
    at: float

    def refilled(self, now: float, per_minute: float) -> "Budget":
        """Return it as it is at a later moment; a clock that went back adds nothing."""
        passed = max(now - self.at, 0.0)
        return Budget(min(CAPACITY, self.tokens + per_minute * passed / 60), max(now, self.at))

    def spent(self) -> "Budget | None":
        """Return it with one retry less, or None where none is left."""
        return Budget(self.tokens - 1, self.at) if self.tokens >= 1 else None


def per_minute(system: str) -> float:
    """Return how many retries a minute come back to a budget."""
    return PER_MINUTE.get(system, PER_MINUTE_ELSEWHERE)


def breaker_open(error_class: ErrorClass, others_n: float, others_failed_share: float) -> bool:
    """Say whether an API is as good as down: the call failed on its side, and so did most others in 15 minutes."""
    return error_class in BREAKER_CLASSES and others_n >= BREAKER_FEWEST and others_failed_share >= BREAKER_SHARE


def probe_slot(wanted: float, next_free: float | None) -> tuple[float, float]:
    """Return when a retry goes through an open breaker, and from when on the next one may; seconds of any clock."""
    slot = wanted if next_free is None else max(wanted, next_free)
    return slot, slot + PROBE_SECONDS
