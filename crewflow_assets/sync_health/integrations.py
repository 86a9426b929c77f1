"""The integrations that are known: from their first sync attempt on, or because someone registered them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.contract import Identifier, System
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotFoundError
from crewflow_assets.ingest.event_kinds import SyncAttempt
from crewflow_assets.ingest.events import EventHandler, RecordedEvent
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.database import batched
from crewflow_assets.store.sync_tables import Integration
from crewflow_assets.store.tables import Company

Key = tuple[str, str]
"""Company and integration id."""

FRESHNESS_MINUTES = 240.0
ACTIVE, SLOWED, PAUSED = "active", "slowed", "paused"
LONGEST_MINUTES = 525_600
SHORTEST_GRANT_SECONDS = 86_400
"""A shorter life is taken for an access token's, which syncs renew by themselves: no word on the grant."""
SHAPES: dict[str, TypeAdapter[str]] = {"integration_id": TypeAdapter(Identifier), "system": TypeAdapter(System)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the attempts of one batch say of an integration; interval and end of the grant are the newest named."""

    last: datetime
    last_ok: datetime | None
    interval: float | None
    interval_at: datetime | None
    grant_ends_at: datetime | None
    grant_said_at: datetime | None


def record_attempts(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Let posted ``sync_attempt`` events make their integrations known and say when they last synced.

    Raises:
        InvalidInputError: events name another system than the one that their integration connects to.
    """
    by_key: dict[Key, list[tuple[RecordedEvent, SyncAttempt]]] = {}
    for recorded in events:
        attempt = recorded.payload
        assert isinstance(attempt, SyncAttempt)
        by_key.setdefault((recorded.event.company_id, attempt.integration_id), []).append((recorded, attempt))
    known = integrations_of(session, by_key)
    problems = [
        FieldProblem(
            ("events", recorded.index, "payload", "system"),
            f"integration {key[1]!r} connects company {key[0]!r} to {system!r}, not to {attempt.system!r}; give "
            "another connection an id of its own",
        )
        for key, attempts in by_key.items()
        for system in [known[key].system if key in known else attempts[0][1].system]
        for recorded, attempt in attempts
        if attempt.system != system
    ]
    if problems:
        raise InvalidInputError(
            "events contradict what is known of integrations; nothing was recorded", tuple(problems)
        )
    for key, attempts in by_key.items():
        integration = known.get(key)
        if integration is None:
            integration = _new(key, attempts[0][1].system)
            session.add(integration)
        _learn(integration, _seen(attempts, integration))


def register(
    session: Session,
    *,
    company_id: str,
    integration_id: str,
    system: str,
    interval_minutes: float | None = None,
    freshness_minutes: float | None = None,
    actor: str,
) -> Integration:
    """Make an integration known before its first sync, or set how often it syncs and how fresh its data must be.

    Raises:
        NotFoundError: the company is unknown.
        InvalidInputError: the integration connects to another system, its id or system is none, or a duration is not
            above 0 and up to a year.
    """
    if session.get(Company, company_id, with_for_update=True) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; import its chart or cost codes first")
    for name, named in (("integration_id", integration_id), ("system", system)):
        try:
            SHAPES[name].validate_python(named)
        except ValidationError as error:
            text = f"{named[:60]!r}: {error.errors()[0]['msg']}"
            raise InvalidInputError(f"{name}: {text}", (FieldProblem((name,), text),)) from None
    for name, value in (("interval_minutes", interval_minutes), ("freshness_minutes", freshness_minutes)):
        if value is not None and not 0 < value <= LONGEST_MINUTES:
            text = f"{value:g} is not above 0 and at most {LONGEST_MINUTES}"
            raise InvalidInputError(f"{name}: {text}", (FieldProblem((name,), text),))
    key = (company_id, integration_id)
    integration = integrations_of(session, [key]).get(key)
    before = None if integration is None else _settings(integration)
    if integration is None:
        integration = _new(key, system)
        session.add(integration)
    elif integration.system != system:
        text = f"integration {integration_id!r} connects to {integration.system!r}, not to {system!r}"
        raise InvalidInputError(text, (FieldProblem(("system",), text),))
    if interval_minutes is not None:
        integration.interval_minutes = interval_minutes
    if freshness_minutes is not None:
        integration.freshness_minutes = freshness_minutes
    after = _settings(integration)
    if after != before:
        write_audit(
            session,
            company_id=company_id,
            actor=actor,
            action="integration.register",
            subject_type="integration",
            subject_id=integration_id,
            before=before,
            after=after,
        )
    session.flush()
    return integration


def integration_of(session: Session, company_id: str, integration_id: str) -> Integration:
    """Return an integration of a company.

    Raises:
        NotFoundError: the company has no such integration.
    """
    found = integrations_of(session, [(company_id, integration_id)]).get((company_id, integration_id))
    if found is None:
        raise NotFoundError(
            f"company {company_id!r} has no integration {integration_id!r}; it becomes known with its first "
            "sync_attempt event, or by `crewflow integration set`"
        )
    return found


def integrations_of(session: Session, keys: Iterable[Key]) -> dict[Key, Integration]:
    """Return those of the integrations that are known."""
    key = tuple_(Integration.company_id, Integration.integration_id)
    return {
        (row.company_id, row.integration_id): row
        for part in batched(sorted(set(keys)))
        for row in session.scalars(select(Integration).where(key.in_(part)))
    }


def of_companies(session: Session, companies: Collection[str]) -> dict[Key, Integration]:
    """Return all integrations of companies."""
    return {
        (row.company_id, row.integration_id): row
        for part in batched(sorted(companies))
        for row in session.scalars(select(Integration).where(Integration.company_id.in_(part)))
    }


def number_of_integrations(session: Session) -> int:
    """Return how many integrations are known."""
    return session.scalar(select(func.count()).select_from(Integration)) or 0


EVENT_HANDLERS: dict[str, EventHandler] = {"sync_attempt": record_attempts}


def _new(key: Key, system: str) -> Integration:
    return Integration(
        company_id=key[0],
        integration_id=key[1],
        system=system,
        freshness_minutes=FRESHNESS_MINUTES,
        state=ACTIVE,
        needs_authorisation=False,
        created_at=clock.now(),
    )


def _settings(integration: Integration) -> dict[str, object]:
    return {
        "system": integration.system,
        "interval_minutes": integration.interval_minutes,
        "freshness_minutes": integration.freshness_minutes,
    }


def _seen(attempts: Sequence[tuple[RecordedEvent, SyncAttempt]], integration: Integration) -> _Seen:
    ordered = sorted(attempts, key=lambda pair: pair[0].event.occurred_at)
    ok = [recorded.event.occurred_at for recorded, attempt in ordered if attempt.ok]
    slowed_until = integration.state_until if integration.state != ACTIVE else None
    interval = interval_at = grant_ends_at = grant_said_at = None
    for recorded, attempt in ordered:
        at = recorded.event.occurred_at
        life = attempt.grant_expires_in_seconds
        if life is not None and life >= SHORTEST_GRANT_SECONDS:
            grant_ends_at, grant_said_at = at + timedelta(seconds=life), at
        if attempt.interval_minutes is not None and (slowed_until is None or at >= slowed_until):
            interval, interval_at = attempt.interval_minutes, at
    last_ok = ok[-1] if ok else None
    return _Seen(ordered[-1][0].event.occurred_at, last_ok, interval, interval_at, grant_ends_at, grant_said_at)


def _learn(integration: Integration, seen: _Seen) -> None:
    """Take over what is newer than what is known; attempts may come late."""
    last, last_ok = integration.last_attempt_at, integration.last_ok_at
    if seen.interval_at is not None and (last is None or seen.interval_at >= last):
        integration.interval_minutes = seen.interval
    said = integration.grant_said_at
    if seen.grant_said_at is not None and (said is None or seen.grant_said_at >= said):
        integration.grant_ends_at, integration.grant_said_at = seen.grant_ends_at, seen.grant_said_at
    integration.last_attempt_at = seen.last if last is None else max(last, seen.last)
    if seen.last_ok is not None:
        integration.last_ok_at = seen.last_ok if last_ok is None else max(last_ok, seen.last_ok)
