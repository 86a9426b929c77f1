"""The tables of monitoring: what the weekly looks at each model found, and the alerts that are open about it."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from crewflow_assets.store.tables import Base, BigId, Json


class DriftLook(Base):
    """What one week of a model's predictions looked like beside the weeks before; written over if looked at again.

    ``week`` is the Monday on which it began; ``aspect`` is ``inputs``, ``predictions`` or ``calibration``.
    ``p_value`` is null where there was too little to compare, and ``said`` says what was missing. ``parts`` names
    what differs most.
    """

    __tablename__ = "drift_looks"

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    aspect: Mapped[str] = mapped_column(String(20), primary_key=True)
    week: Mapped[date] = mapped_column(primary_key=True)
    looked_at: Mapped[datetime]
    model_version: Mapped[str]
    reference_begins: Mapped[date | None]
    reference_ends: Mapped[date | None]
    rows: Mapped[int]
    companies: Mapped[int]
    statistic: Mapped[float | None]
    threshold: Mapped[float | None]
    p_value: Mapped[float | None]
    drifted: Mapped[bool]
    said: Mapped[str]
    parts: Mapped[list[dict[str, Any]]] = mapped_column(Json)


class ModelAlert(Base):
    """Trouble with a model that people should know of: one open for each model and cause.

    ``state`` is ``open`` or ``resolved``; while it is open, it is kept up to date.
    """

    __tablename__ = "model_alerts"
    __table_args__ = (
        Index(
            "uq_model_alerts_open",
            "model",
            "cause",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    model: Mapped[str] = mapped_column(String(100))
    cause: Mapped[str]
    state: Mapped[str]
    detail: Mapped[str]
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    times_seen: Mapped[int]
    resolved_at: Mapped[datetime | None]
