"""From a failed call and what surrounds it to the feature row of the model: one pure function for all doors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Floats, Ints, Objects, Singles
from crewflow_assets.retry_strategy.contract import ErrorClass
from crewflow_assets.retry_strategy.surroundings import SURROUNDINGS
from crewflow_assets.retry_strategy.taxonomy import CLASSES

Rows = Singles

SYSTEMS = ("quickbooks", "sage", "xero")
"""Those that are told apart; any other is none of them."""
SERVER_STATUS = 500
CONTEXT: tuple[str, ...] = (
    *(f"is_{name}" for name in CLASSES),
    *(f"system_{name}" for name in SYSTEMS),
    *("attempts", "hour", "latency", "latency_24h", "latency_ratio", "status", "retry_after", "since_first_failure"),
    *("write", "idempotent"),
    *SURROUNDINGS,
)
DELAY = ("log_delay", "delay_over_retry_after")
FEATURES: tuple[str, ...] = (*CONTEXT, *DELAY)
COLUMN = {name: place for place, name in enumerate(FEATURES)}
OPTIONAL = (("latency", "latency_ratio", *SURROUNDINGS), ("since_first_failure",), ("status", "retry_after"))
"""What a request may leave out though events have it, in groups that are left out together."""


@dataclass(frozen=True, slots=True, eq=False)
class Failures:
    """Failed calls, one element each; NaN where something is not known.

    Attributes:
        error_class: Place in ``taxonomy.CLASSES``.
        system: Name.
        attempts: Times the call was made, the first included.
        hour: Of the day, UTC.
        latency: Of the failed call, milliseconds.
        latency_24h: Mean of the integration's calls in the last 24 hours, milliseconds.
        status: HTTP status.
        retry_after: Seconds.
        since_first_failure: Seconds.
        write: 1 where it creates or changes something.
        idempotent: 1 where it may be repeated without harm.
        around: ``surroundings.SURROUNDINGS``.
    """

    error_class: Ints
    system: Objects
    attempts: Floats
    hour: Floats
    latency: Floats
    latency_24h: Floats
    status: Floats
    retry_after: Floats
    since_first_failure: Floats
    write: Floats
    idempotent: Floats
    around: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.attempts)


def class_places(names: Sequence[ErrorClass]) -> Ints:
    """Return the places of classes in the taxonomy."""
    place = {name: i for i, name in enumerate(CLASSES)}
    return np.array([place[name] for name in names], np.int64)


def context_rows(failures: Failures) -> Rows:
    """Return all features but those of the delay, shape (n, len(CONTEXT))."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = failures.latency / failures.latency_24h
    found = {f"is_{name}": (failures.error_class == i).astype(float) for i, name in enumerate(CLASSES)}
    found |= {f"system_{name}": (failures.system == name).astype(float) for name in SYSTEMS}
    found |= {
        "attempts": np.maximum(failures.attempts, 1),
        "hour": failures.hour,
        "latency": failures.latency,
        "latency_24h": failures.latency_24h,
        "latency_ratio": np.where(np.isfinite(ratio), ratio, np.nan),
        "status": np.where(failures.status >= SERVER_STATUS, failures.status, np.nan),  # the class tells the rest
        "retry_after": failures.retry_after,
        "since_first_failure": failures.since_first_failure,
        "write": failures.write,
        "idempotent": failures.idempotent,
        **{name: failures.around[name] for name in SURROUNDINGS},
    }
    return np.column_stack([found[name] for name in CONTEXT]).astype(np.float32)


def with_delay(context: Rows, seconds: Floats) -> Rows:
    """Return full feature rows for a delay a row.

    Args:
        context: Shape (n, len(CONTEXT)).
        seconds: Shape (n,).
    """
    after = context[:, COLUMN["retry_after"]].astype(float)
    delay = np.column_stack([np.log1p(seconds), seconds / np.maximum(after, 1.0)])
    return np.hstack([context, delay.astype(np.float32)])
