"""The tables about conflicts: what the two sides say, what was decided, and where deciding by itself is allowed."""

from datetime import date, datetime

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from crewflow_assets.store.tables import Base, BigId

Value = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""Hours are numbers, codes are texts; null where a side has no such record."""


class Conflict(Base):
    """Two values of one record that contradict each other.

    ``state`` is ``open``, ``resolved`` or ``reopened``; ``decision_id`` is the resolution that stands. Values and
    versions are those on which it is, or was, to be decided; ``…_command`` is our last command to that side since,
    ``…_seen_at`` the moment up to which that side's edits are known: by the last report, or by a later edit;
    null until there was another than the first report.
    ``edited_at``: someone edited the record since, and what it holds now is not known here. ``blind``: an automatic
    decision was withheld, and a person decides without a suggestion. ``size`` orders a day's conflicts.
    """

    __tablename__ = "conflicts"
    __table_args__ = (
        UniqueConstraint("company_id", "conflict_id"),
        Index("ix_conflicts_queue", "company_id", "state", "opened_on", "size"),
        # whole, with the moment: SQLite took the index by company and moment for a record's later conflicts
        Index("ix_conflicts_record", "company_id", "record_type", "record_id", "conflict_type", "opened_at"),
        Index("ix_conflicts_company_id_opened_at", "company_id", "opened_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    conflict_id: Mapped[str] = mapped_column(String(100))
    conflict_type: Mapped[str]
    state: Mapped[str]
    record_type: Mapped[str]
    record_id: Mapped[str | None] = mapped_column(String(100))
    system: Mapped[str | None]
    worker_id: Mapped[str]
    project_id: Mapped[str]
    timecard_date: Mapped[date]
    crewflow_value: Mapped[float | str | None] = mapped_column(Value)
    external_value: Mapped[float | str | None] = mapped_column(Value)
    crewflow_version: Mapped[str | None]
    external_version: Mapped[str | None]
    crewflow_updated_at: Mapped[datetime | None]
    external_updated_at: Mapped[datetime | None]
    crewflow_updated_by: Mapped[str | None]
    external_updated_by: Mapped[str | None]
    last_sync_timestamp: Mapped[datetime]
    crewflow_command: Mapped[str | None]
    external_command: Mapped[str | None]
    crewflow_seen_at: Mapped[datetime | None]
    external_seen_at: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    opened_on: Mapped[date]
    size: Mapped[float]
    blind: Mapped[bool]
    edited_at: Mapped[datetime | None]
    decision_id: Mapped[str | None] = mapped_column(String(40))
    reopened_reason: Mapped[str | None]


class ConflictResolution(Base):
    """A decision about a conflict, or one that was withheld so that the model can be measured.

    ``state``: ``in_force``; ``withheld``; ``superseded`` by another decision; ``undone`` by a person; ``refused`` by
    a side; ``overtaken`` by an edit. ``review`` says whether a person ``agreed`` with an automatic decision or
    ``overrode`` it; null means that nobody looked. ``propensity`` is the probability with which it might have been
    withheld.
    """

    __tablename__ = "conflict_resolutions"
    __table_args__ = (
        Index("ix_conflict_resolutions_conflict", "conflict", "decided_at"),
        Index("ix_conflict_resolutions_company_id_decided_at", "company_id", "method", "decided_at"),
        Index("ix_conflict_resolutions_model_version", "model_version", "state", "decided_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"))
    conflict: Mapped[int] = mapped_column(ForeignKey("conflicts.id"))
    conflict_type: Mapped[str]
    action: Mapped[str]
    value: Mapped[float | str | None] = mapped_column(Value)
    method: Mapped[str]
    state: Mapped[str]
    decided_by: Mapped[str]
    decided_at: Mapped[datetime]
    confidence: Mapped[float | None]
    reason: Mapped[str | None]
    model_version: Mapped[str | None]
    prediction_id: Mapped[str | None] = mapped_column(String(40))
    propensity: Mapped[float]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]
    ended_reason: Mapped[str | None]
    review: Mapped[str | None]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]


class ConflictSwitch(Base):
    """Whether conflicts of one type of a company are decided automatically, and whether that has stopped itself.

    ``mode`` is ``off``, ``suggest`` or ``automatic``. ``stopped_at`` is set when people overrode too many automatic
    decisions; a person starts it again (``judged_from``: what was decided before no longer counts).
    """

    __tablename__ = "conflict_switches"

    company_id: Mapped[str] = mapped_column(ForeignKey("companies.id"), primary_key=True)
    conflict_type: Mapped[str] = mapped_column(String(50), primary_key=True)
    mode: Mapped[str]
    daily_cap: Mapped[int]
    set_by: Mapped[str]
    set_at: Mapped[datetime]
    judged_from: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    stopped_reason: Mapped[str | None]
    alerted_at: Mapped[datetime | None]
