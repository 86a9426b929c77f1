"""The one clock of the platform: aware UTC, and movable.

Nothing else asks the system for the time, so that a test, or a simulated history, can say when things happen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def _system() -> datetime:
    return datetime.now(UTC)


_clock: ContextVar[Clock] = ContextVar("crewflow_clock", default=_system)


def now() -> datetime:
    """Return the present moment, timezone-aware UTC with microseconds."""
    return _clock.get()()


@contextmanager
def fixed(moment: datetime) -> Iterator[None]:
    """Let ``now()`` answer ``moment`` inside the block, in this thread or task only.

    Raises:
        ValueError: ``moment`` has no timezone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"the moment {moment.isoformat()} has no timezone; pass an aware datetime")
    token = _clock.set(lambda: moment.astimezone(UTC))
    try:
        yield
    finally:
        _clock.reset(token)
