"""Keys of the HTTP API: shown once when made, stored as a hash, bound to one company or to the platform."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotFoundError
from crewflow_assets.store.tables import ApiKey, Company

PREFIX = "cfk_"
NAME_LENGTH = 100
MOST_PER_MINUTE = 1_000_000


@dataclass(frozen=True, slots=True)
class KeyScope:
    """What a valid key may touch: one company's data, or with ``company_id`` None everything."""

    key_id: int
    company_id: str | None
    requests_per_minute: int | None = None
    """Its own limit; None for the installation's."""


def create(
    session: Session, name: str, company_id: str | None, *, requests_per_minute: int | None = None
) -> tuple[str, ApiKey]:
    """Make a key and return its token, which cannot be read again, with the stored row.

    Args:
        session: An open transaction.
        name: Who uses the key, such as "backend".
        company_id: The company whose data the key opens; None for the platform's key, which opens all.
        requests_per_minute: The key's own limit, from 1 to 1,000,000; None for the installation's.

    Raises:
        InvalidInputError: The name is empty, longer than 100 characters or has control characters, or the limit
            is out of its range.
        NotFoundError: There is no such company.
    """
    if not 0 < len(name.strip()) <= NAME_LENGTH or not name.isprintable():
        detail = f"the key's name {name[:40]!r} must have 1 to {NAME_LENGTH} printable characters"
        raise InvalidInputError(detail, (FieldProblem(("name",), detail),))
    _check_limit(requests_per_minute)
    if company_id is not None and session.get(Company, company_id) is None:
        raise NotFoundError(f"there is no company {company_id!r}; import it first, or check its id")
    token = PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        name=name.strip(),
        hash=hash_of(token),
        hint=token[-4:],
        company_id=company_id,
        created_at=clock.now(),
        revoked_at=None,
        requests_per_minute=requests_per_minute,
    )
    session.add(row)
    session.flush()
    return token, row


def verify(session: Session, token: str) -> KeyScope | None:
    """Return what the token opens, or None where it is unknown or revoked."""
    if not token.startswith(PREFIX):
        return None
    query = select(ApiKey.id, ApiKey.company_id, ApiKey.requests_per_minute).where(
        ApiKey.hash == hash_of(token), ApiKey.revoked_at.is_(None)
    )
    found = session.execute(query).one_or_none()
    return None if found is None else KeyScope(found.id, found.company_id, found.requests_per_minute)


def limit(session: Session, key_id: int, requests_per_minute: int | None) -> ApiKey:
    """Set how many requests a key may make a minute; None for the installation's limit.

    Raises:
        InvalidInputError: the limit is out of its range.
        NotFoundError: There is no such key.
    """
    _check_limit(requests_per_minute)
    row = _locked(session, key_id)
    row.requests_per_minute = requests_per_minute
    return row


def revoke(session: Session, key_id: int) -> ApiKey:
    """Close a key for good; a key that is closed already stays as it is.

    Raises:
        NotFoundError: There is no such key.
    """
    row = _locked(session, key_id)
    if row.revoked_at is None:
        row.revoked_at = clock.now()
    return row


def list_keys(session: Session) -> list[ApiKey]:
    """Return all keys, revoked ones too, in the order they were made."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.id)))


def hash_of(token: str) -> str:
    """Return what is stored of a token."""
    # A fast hash is right here: the token is 256 random bits, not a password that could be guessed.
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _check_limit(requests_per_minute: int | None) -> None:
    if requests_per_minute is not None and not 1 <= requests_per_minute <= MOST_PER_MINUTE:
        detail = f"the limit {requests_per_minute} must be 1 to {MOST_PER_MINUTE:,} requests a minute"
        raise InvalidInputError(detail, (FieldProblem(("requests_per_minute",), detail),))


def _locked(session: Session, key_id: int) -> ApiKey:
    row = session.get(ApiKey, key_id, with_for_update=True)
    if row is None:
        raise NotFoundError(f"there is no API key {key_id}; `crewflow key list` shows them")
    return row
