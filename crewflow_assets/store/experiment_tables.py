"""The tables of experiments: what is compared, who started, ended and approved it, and what each look showed."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from crewflow_assets.store.tables import Base, BigId, Json


class Experiment(Base):
    """A comparison of versions of one model, by company.

    ``arms`` are objects with ``name``, ``version`` and ``percent``, in the order of assignment; ``salt`` makes the
    assignment its own. ``state`` is ``running`` or ``ended``; ``ended_reason`` is ``stopped`` by a person, ``harm``,
    ``duration`` or ``approved``. ``winner`` is the arm proposed for promotion. ``harm_overruled_by``: a person
    resumed it after it stopped itself, and it no longer does.
    """

    __tablename__ = "experiments"
    __table_args__ = (
        Index(
            "uq_experiments_running",
            "model",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    model: Mapped[str] = mapped_column(String(100))
    salt: Mapped[str] = mapped_column(String(40))
    arms: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    metrics: Mapped[list[str]] = mapped_column(Json)
    state: Mapped[str]
    started_at: Mapped[datetime]
    started_by: Mapped[str]
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    ended_reason: Mapped[str | None]
    ended_why: Mapped[str | None]
    winner: Mapped[str | None]
    winner_at: Mapped[datetime | None]
    approved_at: Mapped[datetime | None]
    approved_by: Mapped[str | None]
    harm_overruled_by: Mapped[str | None]


class ExperimentLook(Base):
    """What the data showed at one moment; ``results`` is the analysis, ``verdict`` what followed from it."""

    __tablename__ = "experiment_looks"
    __table_args__ = (UniqueConstraint("experiment", "at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    experiment: Mapped[int] = mapped_column(ForeignKey("experiments.id"))
    at: Mapped[datetime]
    results: Mapped[dict[str, Any]]
    verdict: Mapped[str]
    why: Mapped[str]
