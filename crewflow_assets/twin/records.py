"""The records of a simulated company, as the platform would be given them, and the truth that it is not given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SourceKind = Literal["cost_code", "project"]
Action = Literal["accept", "correct"]
AccountingSystem = Literal["quickbooks", "sage", "xero"]
SourceKey = tuple[SourceKind, str]


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a chart. ``parent`` is the full name of the account above it.

    ``full_name`` joins the levels with colons ("Job Expenses:Materials"); ``type`` is in the words of the accounting
    system.
    """

    code: str | None
    name: str
    full_name: str
    type: str
    parent: str | None

    @property
    def key(self) -> str:
        """What a mapping points to: the number, or the full name in a chart without numbers."""
        return self.code or self.full_name


@dataclass(frozen=True, slots=True)
class CostCode:
    """A line of a company's cost-code list; ``group`` is the heading it stands under."""

    code: str
    name: str
    description: str | None
    group: str | None
    project_type: str | None


@dataclass(frozen=True, slots=True)
class Project:
    """A job of a company."""

    code: str
    name: str
    customer: str | None
    project_type: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A person maps a source to an account, at a moment in UTC.

    ``accept`` takes the suggestion, or maps without one; ``correct`` overrides a suggestion or an earlier decision.
    """

    at: datetime
    kind: SourceKind
    source_code: str
    action: Action
    target_key: str
    suggested_key: str | None
    decided_by: str


@dataclass(frozen=True, slots=True)
class Company:
    """A customer with its lists, its history of decisions (by time), and the accounts that are truly right.

    ``size`` is the number of employees; ``convention`` names how the chart is cut; ``truth`` covers every
    cost code and every project.
    """

    id: str
    name: str
    industry: str
    size: int
    system: AccountingSystem
    convention: str
    onboarded_at: datetime
    chart: tuple[Account, ...]
    cost_codes: tuple[CostCode, ...]
    projects: tuple[Project, ...]
    decisions: tuple[Decision, ...]
    truth: Mapping[SourceKey, str]
