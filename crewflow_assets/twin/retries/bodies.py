"""What the APIs say when a call fails: status, the vendor's code and the message, by system, error and cause.

Public forms: QuickBooks codes and messages from developer.intuit.com ("Error codes", "Handling common errors") and
github.com/intuit/QuickBooks-V3-PHP-SDK issue 54; Xero from developer.xero.com ("HTTP response codes & errors",
"OAuth 2.0 API limits"); Sage from developer.sage.com/accounting ("Response codes", "Frequently raised errors").
They stand in ``twin/data/api_errors.csv``. Wording is varied where a body names records, times or hosts. How often
which body comes is an assumption.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.twin.sync.attempts import ERRORS, Cause
from crewflow_assets.twin.sync.parameters import SYSTEMS

ANY = ""
CONNECTION, TIMEOUT, INTERNAL, GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT, AUTH, THROTTLED, REFUSED = range(1, 10)
"""Places in ``ERRORS``."""
PLAIN, DAY, PLANNED = range(3)
"""What else there is to a failure: the day's calls are used up; the maintenance is planned."""
_PLACES_OF = (
    "connection",
    "timeout",
    "internal",
    "gateway",
    "unavailable",
    "gateway_timeout",
    "auth",
    "throttled",
    "refused",
)
_ONLY = ("", "day", "planned")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """One thing that an API says.

    Attributes:
        system: Whose it is; "" where the client says it, whatever the API.
        error: Place in ``ERRORS``.
        status: HTTP status; None where no answer came.
        code: The vendor's.
        message: With ``{n}`` where a number stands.
        cause: Only for this cause, if one is given.
        only: Only for such failures: ``DAY``, ``PLANNED``.
        weight: How often, against the others that fit.
    """

    system: str
    error: int
    status: int | None
    code: str | None
    message: str
    cause: Cause | None = None
    only: int = PLAIN
    weight: float = 1.0

    @property
    def error_class(self) -> str:
        """The client's own word for it."""
        return ERRORS[self.error].name

    @property
    def is_unclear(self) -> bool:
        """Whether the call may have taken effect all the same."""
        never_sent = self.message.startswith(("connect ", "getaddrinfo "))
        return self.error in (CONNECTION, TIMEOUT, INTERNAL, GATEWAY, GATEWAY_TIMEOUT) and not never_sent

    def text(self, number: int) -> str:
        """Return the message, with a number where one stands."""
        return self.message.replace("{n}", str(number))


def _read() -> Iterator[ErrorBody]:
    with (files("crewflow_assets.twin") / "data" / "api_errors.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield ErrorBody(
                system=row["system"],
                error=1 + _PLACES_OF.index(row["error"]),
                status=int(row["status"]) if row["status"] else None,
                code=row["code"] or None,
                message=row["message"],
                cause=Cause[row["cause"].upper()] if row["cause"] else None,
                only=_ONLY.index(row["only"]),
                weight=float(row["weight"]),
            )


BODIES: tuple[ErrorBody, ...] = tuple(_read())
_MOST = 9


def _tables() -> tuple[Ints, Floats]:
    """Return candidates and their cumulative shares, shape (systems, errors, causes, what else, most)."""
    shape = (len(SYSTEMS), len(ERRORS), len(Cause), 3, _MOST)
    places, shares = np.zeros(shape, dtype=np.int64), np.full(shape, 2.0)
    for system, name in enumerate(SYSTEMS):
        for error in range(1, len(ERRORS)):
            for cause in Cause:
                for only in (PLAIN, DAY, PLANNED):
                    fits = [
                        (place, body.weight)
                        for place, body in enumerate(BODIES)
                        if body.error == error
                        and body.system in (name, ANY)
                        and body.cause in (None, cause)
                        and body.only in (PLAIN, only)
                    ]
                    found, weights = zip(*fits, strict=True)
                    cell = (system, error, cause.value, only)
                    places[cell][: len(found)] = found
                    shares[cell][: len(found) - 1] = np.cumsum(weights)[:-1] / sum(weights)
    return places, shares


_PLACES, _SHARES = _tables()


def body_of(system: Ints, error: Ints, cause: Ints, only: Ints, uniform: Floats) -> Ints:
    """Return what is said of each failure, as a place in ``BODIES``."""
    chosen = (uniform[:, None] >= _SHARES[system, error, cause, only]).sum(axis=1)
    places: Ints = _PLACES[system, error, cause, only, chosen]
    return places
