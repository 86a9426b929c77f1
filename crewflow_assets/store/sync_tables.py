"""The tables about integrations: what is known of them, what was done, who was told, and their daily score.

An integration is known by its company and by the id that its events carry, which is unique within the company.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from crewflow_assets.store.tables import Base, BigId, Json


class Integration(Base):
    """A connection of a company to one accounting system.

    ``state`` is ``active``, ``slowed`` or ``paused``; what is not active ends by itself at ``state_until``, and
    ``action_id`` names the action that set it. ``interval_minutes`` is the usual interval, without our slowing;
    a sync that is due has to be completed within ``freshness_minutes``. ``grant_ends_at`` is what the last attempt
    that named it said, at ``grant_said_at``.
    """

    __tablename__ = "integrations"
    __table_args__ = (UniqueConstraint("company_id", "integration_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    integration_id: Mapped[str] = mapped_column(String(100))
    system: Mapped[str]
    interval_minutes: Mapped[float | None]
    freshness_minutes: Mapped[float]
    state: Mapped[str]
    state_until: Mapped[datetime | None]
    action_id: Mapped[str | None] = mapped_column(String(40))
    needs_authorisation: Mapped[bool]
    grant_ends_at: Mapped[datetime | None]
    grant_said_at: Mapped[datetime | None]
    last_attempt_at: Mapped[datetime | None]
    last_ok_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class SyncRisk(Base):
    """What the last tick of the watch said of an integration; written over at each tick."""

    __tablename__ = "sync_risks"

    integration: Mapped[int] = mapped_column(ForeignKey("integrations.id"), primary_key=True, autoincrement=False)
    assessed_at: Mapped[datetime]
    failure_probability: Mapped[float]
    horizon_minutes: Mapped[float | None]
    risk_factors: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    forecast: Mapped[dict[str, Any] | None] = mapped_column(Json)
    model_version: Mapped[str]


class SyncAction(Base):
    """Something done, or on purpose not done (``withheld``), to keep a sync from failing.

    ``state``: ``in_force`` until ``until``, then ``over``; ``done`` where a person did what was asked;
    ``superseded``, ``undone`` and ``refused`` before their time; ``withheld`` where the sync runs unaltered
    so that the model can be measured. ``propensity`` is the probability with which it might have been withheld.
    """

    __tablename__ = "sync_actions"
    __table_args__ = (
        Index("ix_sync_actions_integration", "company_id", "integration_id", "decided_at"),
        Index("ix_sync_actions_company_id_decided_at", "company_id", "decided_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    integration_id: Mapped[str] = mapped_column(String(100))
    action: Mapped[str]
    cause: Mapped[str]
    state: Mapped[str]
    automatic: Mapped[bool]
    detail: Mapped[str]
    interval_minutes: Mapped[float | None]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    until: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    ended_reason: Mapped[str | None]
    failure_probability: Mapped[float | None]
    model_version: Mapped[str | None]
    prediction_id: Mapped[str | None] = mapped_column(String(40))
    propensity: Mapped[float]
    command_key: Mapped[str | None] = mapped_column(String(200))


class Alert(Base):
    """What people are told about one cause of an integration; at most one of them is open.

    ``told_at`` is null while the company's limit a day holds it back.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_open",
            "company_id",
            "integration_id",
            "cause",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_alerts_company_id_told_at", "company_id", "told_at"),
        Index("ix_alerts_state_last_seen_at", "state", "last_seen_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    integration_id: Mapped[str] = mapped_column(String(100))
    cause: Mapped[str]
    state: Mapped[str]
    detail: Mapped[str]
    failure_probability: Mapped[float]
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    times_seen: Mapped[int]
    told_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]


class HealthScore(Base):
    """The PRD's score of an integration as of the end of a UTC day, over the 30 days before; null without syncs."""

    __tablename__ = "health_scores"

    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"), primary_key=True)
    integration_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    total_syncs: Mapped[int]
    successful_syncs: Mapped[int]
    avg_latency_ms: Mapped[float | None]
    error_count: Mapped[int]
    conflicts: Mapped[int]
    duplicates: Mapped[int]
    sync_success_rate: Mapped[float | None]
    latency: Mapped[float | None]
    error_rate: Mapped[float | None]
    data_quality: Mapped[float | None]
    overall: Mapped[float | None]
