"""The tables of retries: the budget of each customer at each API, and the breakers of the APIs."""

from datetime import datetime

from sqlalchemy import String
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
