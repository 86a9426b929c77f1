"""New error patterns: messages that no class explains, more often than chance would bring them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from crewflow_assets.retry_strategy.taxonomy import classify, normalised
from crewflow_assets.spec import Counted
from crewflow_assets.store.tables import Event

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LEVEL = 0.001
"""Probability with which chance alone asks for a training, at one look at one system."""
FEWEST = 5
"""So few unexplained messages ask for nothing, however rare they were before."""
MOST_EVENTS = 20_000
"""The newest so many retries of each time are looked at."""


@dataclass(frozen=True, slots=True)
class Told:
    """How many failures a system told of, and how many of them no class explains."""

    messages: int
    unexplained: int


def count_unexplained(failures: Iterable[Mapping[str, Any]]) -> dict[str, Told]:
    """Count failures by system; each has the fields of a ``retry_outcome`` event."""
    messages: Counter[str] = Counter()
    unexplained: Counter[str] = Counter()
    for one in failures:
        system = str(one["system"])
        messages[system] += 1
        # an error_class that the caller made up says nothing about the message
        known = classify(system, one.get("status_code"), one.get("error_code"), one.get("error_message"), None)
        unexplained[system] += known.name == "unknown" and bool(normalised(one.get("error_message") or ""))
    return {system: Told(n, unexplained[system]) for system, n in messages.items()}


def most_by_chance(now: Told, before: Told) -> float:
    """Return the largest number of unexplained messages that chance explains, at the share before.

    The 1 − ``LEVEL`` quantile of the beta-binomial distribution: the share before is known only from so many
    messages (uniform prior), which a binomial at the share itself would forget.
    """
    from scipy.stats import betabinom

    quantile = betabinom.ppf(
        1 - LEVEL, now.messages, before.unexplained + 1, before.messages - before.unexplained + 1
    )
    return max(float(quantile), float(FEWEST))


def unexplained_since(
    session: "Session", received_since: datetime, occurred_since: datetime
) -> Mapping[str, Counted]:
    """Count by system the unexplained messages since a training's data ended, with the most that chance would bring.

    The share before comes from the retries that were received before.
    """
    now = count_unexplained(
        _failures(session, Event.received_at > received_since, Event.occurred_at >= occurred_since)
    )
    if not any(told.unexplained > FEWEST for told in now.values()):
        return {system: Counted(told.unexplained, FEWEST) for system, told in now.items()}
    before = count_unexplained(_failures(session, Event.received_at <= received_since))
    return {
        system: Counted(told.unexplained, most_by_chance(told, before.get(system, Told(0, 0))))
        for system, told in now.items()
    }


def _failures(session: "Session", *conditions: Any) -> Iterable[Mapping[str, Any]]:
    query = (
        select(Event.payload)
        .where(Event.kind == "retry_outcome", *conditions)
        .order_by(Event.received_at.desc(), Event.id.desc())
        .limit(MOST_EVENTS)
    )
    return session.scalars(query)
