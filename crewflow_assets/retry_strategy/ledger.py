"""The retry budget and the breaker of each API, kept in the database so that all processes share them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from crewflow_assets.retry_strategy.delays import LONGEST
from crewflow_assets.retry_strategy.rules import CAPACITY, Budget, per_minute, probe_slot
from crewflow_assets.store.database import VALUES_PER_QUERY, batched, insert_into
from crewflow_assets.store.retry_tables import RetryBreaker, RetryBudget


@dataclass(frozen=True, slots=True)
class Wanted:
    """A retry that is planned: of whom, in how many seconds, and whether the API's breaker is open."""

    system: str
    company_id: str
    seconds: float
    breaker_open: bool


@dataclass(frozen=True, slots=True)
class Admitted:
    """When the retry may go out, in seconds from now; None: the budget is used up, or the probes are for a day."""

    seconds: float | None
    held_by: str | None = None
    """What changed the plan: ``budget``, ``breaker``, or nothing."""


def admit(session: Session, wanted: Sequence[Wanted], at: datetime) -> list[Admitted]:
    """Take each retry from its budget, in order, and give those to an API that is down a probe's slot.

    A breaker comes first: a retry that gets no slot costs nothing.
    """
    rows = _budgets(session, sorted({(one.system, one.company_id) for one in wanted}), at)
    breakers = {system: _breaker(session, system) for system in sorted({w.system for w in wanted if w.breaker_open})}
    now = at.timestamp()
    budgets = {
        key: Budget(row.tokens, row.counted_at.timestamp()).refilled(now, per_minute(row.system))
        for key, row in rows.items()
    }
    found = []
    for one in wanted:
        key, seconds, next_free = (one.system, one.company_id), one.seconds, None
        if one.breaker_open:
            breaker = breakers[one.system]
            until = (breaker.next_probe_at - at) / timedelta(seconds=1)
            seconds, next_free = probe_slot(one.seconds, until)
            if seconds >= LONGEST:
                found.append(Admitted(None, "breaker"))
                continue
        left = budgets[key].spent()
        if left is None:
            found.append(Admitted(None, "budget"))
            continue
        budgets[key] = left
        if next_free is not None:
            breakers[one.system].next_probe_at = at + timedelta(seconds=next_free)
        found.append(Admitted(seconds, "breaker" if seconds > one.seconds else None))
    for key, row in rows.items():
        row.tokens, row.counted_at = budgets[key].tokens, datetime.fromtimestamp(budgets[key].at, UTC)
    return found


def _budgets(session: Session, keys: Sequence[tuple[str, str]], at: datetime) -> dict[tuple[str, str], RetryBudget]:
    """Return the rows of systems and companies, locked in their order; new ones are full."""
    found: dict[tuple[str, str], RetryBudget] = {}
    for some in batched(keys, VALUES_PER_QUERY // 4):
        values = [{"system": s, "company_id": c, "tokens": CAPACITY, "counted_at": at} for s, c in some]
        session.execute(insert_into(session, RetryBudget).on_conflict_do_nothing(), values)
        wanted = (
            select(RetryBudget)
            .where(tuple_(RetryBudget.system, RetryBudget.company_id).in_(some))
            .order_by(RetryBudget.system, RetryBudget.company_id)
            .with_for_update()
        )
        found |= {(row.system, row.company_id): row for row in session.scalars(wanted)}
    return found


def _breaker(session: Session, system: str) -> RetryBreaker:
    """Return the row, locked; a new one lets the next retry through at once."""
    values = {"system": system, "next_probe_at": datetime(1970, 1, 1, tzinfo=UTC)}
    session.execute(insert_into(session, RetryBreaker).values(**values).on_conflict_do_nothing())
    return session.get_one(RetryBreaker, system, with_for_update=True)
