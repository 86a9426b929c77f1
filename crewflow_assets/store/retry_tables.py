"""The tables of retries: budgets of customers at APIs, breakers of APIs, and calls that wait for a mending."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from crewflow_assets.store.tables import Base


class RetryBudget(Base):
    """How many retries one company may still be told at one API, as of a moment; they come back with time.

    ``company_id`` is empty for requests that name no company. It is no foreign key: a retry may be asked for before
    anything else is known of the company.
    """

    __tablename__ = "retry_budgets"

    system: Mapped[str] = mapped_column(String(50), primary_key=True)
    company_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    tokens: Mapped[float]
    counted_at: Mapped[datetime]


class RetryBreaker(Base):
    """When the next retry may go out to an API while its breaker is open."""

    __tablename__ = "retry_breakers"

    system: Mapped[str] = mapped_column(String(50), primary_key=True)
    next_probe_at: Mapped[datetime]


class RetryHold(Base):
    """A call that was refused for what a person has to mend, and is to be made once more when that shows.

    ``state``: ``waiting`` until ``until``; ``released`` once the receiver was told to make it again, ``refused``
    where the receiver would not. What is released or refused is kept until ``until``, so that the same call is not
    released by each further sync. ``failed_at`` is when a plan was first asked for the failure that it waits after:
    mendings count that happened later. ``released_at`` is of the last release. Without a record, ``record_type`` and
    ``record_id`` are null. ``company_id`` is no foreign key, as in ``RetryBudget``.
    """

    __tablename__ = "retry_holds"
    __table_args__ = (Index("ix_retry_holds_record", "company_id", "record_type", "record_id"),)

    company_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    integration_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    call_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    release_on: Mapped[str] = mapped_column(String(20), primary_key=True)
    system: Mapped[str] = mapped_column(String(50))
    error_class: Mapped[str] = mapped_column(String(20))
    record_type: Mapped[str | None] = mapped_column(String(100))
    record_id: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20))
    failed_at: Mapped[datetime]
    until: Mapped[datetime]
    released_at: Mapped[datetime | None]
