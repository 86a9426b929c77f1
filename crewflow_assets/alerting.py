"""One open alert for each cause: kept up to date while its trouble goes on, resolved after a quiet time.

The rule of every alert, about an integration or about a model; whom it is told, and how, is for their modules to say.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

OPEN, RESOLVED = "open", "resolved"


class Alert(Protocol):
    """What the rule needs of an alert."""

    state: str
    detail: str
    last_seen_at: datetime
    times_seen: int
    resolved_at: datetime | None


A = TypeVar("A", bound=Alert)


def seen_again(alert: Alert, at: datetime, detail: str) -> bool:
    """Note that the trouble goes on; False where it was noted already, by a run that is repeated."""
    if alert.last_seen_at >= at:
        return False
    alert.last_seen_at = at
    alert.times_seen += 1
    alert.detail = detail
    return True


def gone_quiet(alerts: Iterable[A], at: datetime, quiet: timedelta) -> list[A]:
    """Return the alerts whose trouble was not seen for so long; ``resolve`` ends them."""
    return [alert for alert in alerts if alert.last_seen_at <= at - quiet]


def resolve(alert: Alert, at: datetime) -> None:
    """End an alert."""
    alert.state, alert.resolved_at = RESOLVED, at
