"""The tables about trainings and promotions: what each training was for, and who or what moved an alias, and why."""

from datetime import datetime

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from crewflow_assets.store.tables import Base, BigId


class TrainingClaim(Base):
    """A cause for training a model, and the training that it got: one row, so one training.

    ``watermark`` tells causes of one reason apart: the cut-off of the data that the model knew, or the moment of a
    schedule. ``state``: ``requested``, ``running`` in ``run_id``, ``done``, ``failed`` and to be tried again from
    ``not_before`` on, or ``given_up`` after ``attempts_allowed``. A run that lives moves ``beat_at``.
    """

    __tablename__ = "training_claims"
    __table_args__ = (
        Index("ix_training_claims_state", "state"),
        Index("ix_training_claims_run_id", "run_id"),
    )

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    reason: Mapped[str] = mapped_column(String(100), primary_key=True)
    watermark: Mapped[str] = mapped_column(String(100), primary_key=True)
    why: Mapped[str]
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int]
    attempts_allowed: Mapped[int]
    requested_at: Mapped[datetime]
    not_before: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(40))
    beat_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]
    version: Mapped[str | None]
    data_until: Mapped[datetime | None]


class Promotion(Base):
    """A decision about an alias: a move, one that waits for approval, or one that was not made.

    ``method``: ``training``, ``approval``, ``experiment`` or ``rollback``. ``state``: ``pending`` until a person
    approves, then ``approved``, ``rejected``, or ``superseded`` by a newer candidate; ``moving`` until the registry
    has been told, then ``done``. ``to_label`` is null where the alias was taken away.
    """

    __tablename__ = "promotions"
    __table_args__ = (
        Index("ix_promotions_model", "model", "id"),
        Index(
            "uq_promotions_pending",
            "model",
            unique=True,
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    model: Mapped[str] = mapped_column(String(100))
    alias: Mapped[str]
    method: Mapped[str]
    state: Mapped[str] = mapped_column(String(20))
    from_number: Mapped[int | None]
    from_label: Mapped[str | None]
    to_number: Mapped[int | None]
    to_label: Mapped[str | None]
    why: Mapped[str]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(40))
    ended_by: Mapped[str | None]
    ended_at: Mapped[datetime | None]
    ended_why: Mapped[str | None]


class ModelSwitch(Base):
    """Whether a model's promotions wait for a person; its row is also what movers of its aliases lock."""

    __tablename__ = "model_switches"

    model: Mapped[str] = mapped_column(String(100), primary_key=True)
    approval_required: Mapped[bool]
    set_by: Mapped[str | None]
    set_at: Mapped[datetime | None]
