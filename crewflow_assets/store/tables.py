"""The tables of the operational database.

Keys that come from a customer (cost codes, account numbers) are text and unique within their company.
An account is known by its number or, where the chart has none, by its full colon-nested name.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware in Python, UTC in the database, microseconds in both."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse naive moments, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the moment {value.isoformat()} has no timezone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the timezone back that SQLite does not keep."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: Json, str: Text()}  # noqa: RUF012


class Company(Base):
    """A customer. ``revision`` grows with every change to its charts, items or mappings: caches key on it."""

    __tablename__ = "companies"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    name: Mapped[str]
    industry: Mapped[str]
    created_at: Mapped[datetime]
    revision: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class Account(Base):
    """An account of a customer's chart in one accounting system: what cost codes and projects map to."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("company_id", "system", "code"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    system: Mapped[str]
    code: Mapped[str]
    name: Mapped[str]
    type: Mapped[str | None]
    parent: Mapped[str | None]
    created_at: Mapped[datetime]
    deactivated_at: Mapped[datetime | None]


class SourceItem(Base):
    """What is mapped: a cost code or a project (``kind``) of a company."""

    __tablename__ = "source_items"
    __table_args__ = (UniqueConstraint("company_id", "kind", "code"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    kind: Mapped[str]
    code: Mapped[str]
    name: Mapped[str]
    description: Mapped[str | None]
    group_name: Mapped[str | None]
    project_type: Mapped[str | None]
    created_at: Mapped[datetime]
    deactivated_at: Mapped[datetime | None]


class Mapping(Base):
    """Where an item stands in one accounting system.

    ``target_code`` is null while it waits for review. ``decision_id`` is the event that put it there.
    """

    __tablename__ = "mappings"
    __table_args__ = (UniqueConstraint("company_id", "kind", "source_code", "system"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    kind: Mapped[str]
    source_code: Mapped[str]
    system: Mapped[str]
    target_code: Mapped[str | None]
    method: Mapped[str | None]
    decision_id: Mapped[str]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    reopened_reason: Mapped[str | None]


class Event(Base):
    """Something that happened, as it came in: the inbox of the lake. Never updated, never deleted."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("company_id", "event_id"),
        Index("ix_events_kind_occurred_at", "kind", "occurred_at"),
        Index("ix_events_kind_received_at", "kind", "received_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    event_id: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str]
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    payload: Mapped[dict[str, Any]]


class AuditEntry(Base):
    """Who or what decided something, on what grounds, and what it changed.

    Without a company it was decided for the platform as a whole, such as which version of a model answers.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_subject", "company_id", "subject_type", "subject_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    company_id: Mapped[str | None] = mapped_column(ForeignKey("companies.id"))
    actor: Mapped[str]
    action: Mapped[str]
    subject_type: Mapped[str]
    subject_id: Mapped[str]
    before: Mapped[dict[str, Any] | None] = mapped_column(Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)
    method: Mapped[str | None]
    confidence: Mapped[float | None]
    model_version: Mapped[str | None]
    prediction_id: Mapped[str | None]


class OutboxCommand(Base):
    """An effect on another system, waiting to be sent or sent; in order within ``record_key``.

    Without a company it is about the platform as a whole, such as an alert about a model.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_state_next_attempt_at", "state", "next_attempt_at"),
        Index("ix_outbox_record_key", "company_id", "record_key"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(200), unique=True)
    company_id: Mapped[str | None] = mapped_column(ForeignKey("companies.id"))
    record_key: Mapped[str]
    command: Mapped[str]
    payload: Mapped[dict[str, Any]]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @property
    def company(self) -> str:
        """The company whose record it is about.

        Raises:
            ValueError: it is about the platform.
        """
        if self.company_id is None:
            raise ValueError(f"the command {self.command!r} {self.idempotency_key!r} belongs to no company")
        return self.company_id


class IdempotentAnswer(Base):
    """The answer once given to a request that carried an idempotency key."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (UniqueConstraint("scope", "key"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    scope: Mapped[str] = mapped_column(String(200))
    key: Mapped[str] = mapped_column(String(200))
    request_hash: Mapped[str]
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A key of the HTTP API, stored as a hash; without a company it is the platform's.

    ``requests_per_minute`` is its own limit; without one the setting of that name holds.
    """

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str]
    company_id: Mapped[str | None] = mapped_column(ForeignKey("companies.id"))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    requests_per_minute: Mapped[int | None]


class Prediction(Base):
    """A prediction that was served: inputs, output, version, and whether its automation was withheld."""

    __tablename__ = "predictions"
    __table_args__ = (Index("ix_predictions_model_created_at", "model", "created_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    model: Mapped[str]
    model_version: Mapped[str]
    variant: Mapped[str]
    company_id: Mapped[str | None] = mapped_column(String(100))
    inputs: Mapped[dict[str, Any]]
    output: Mapped[dict[str, Any]]
    withheld: Mapped[bool]
    propensity: Mapped[float]
    latency_ms: Mapped[float]
    created_at: Mapped[datetime]
