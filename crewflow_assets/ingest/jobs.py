"""What an import is asked to do, what it reports, and what it hands on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from crewflow_assets.contract import System
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.ingest.columns import Kind
from crewflow_assets.ingest.rows import ROW_TYPES

WITH_SYSTEM: frozenset[Kind] = frozenset({"accounts", "mappings"})
SYSTEM: TypeAdapter[str] = TypeAdapter(System)

OnDuplicate = Literal["refuse", "first", "last"]


@dataclass(frozen=True, slots=True)
class ImportedMapping:
    """A mapping that a person made elsewhere; its item and account exist and are active."""

    company_id: str
    kind: Literal["cost_code", "project"]
    system: str
    source_code: str
    target_code: str


@dataclass(frozen=True, slots=True)
class MappingCounts:
    """What recording mappings did."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


RecordMappings = Callable[[Session, list[ImportedMapping]], MappingCounts]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do. ``columns`` are pairs of a field and the column it was read from."""

    kind: Kind
    company_id: str
    system: str | None
    rows: int
    inserted: int = 0
    updated: int = 0
    deactivated: int = 0
    reactivated: int = 0
    unchanged: int = 0
    skipped: int = 0
    warnings: tuple[str, ...] = ()
    company_created: bool = False
    company_updated: bool = False
    dry_run: bool = False
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was written besides the audit row."""
        records_changed = self.inserted + self.updated + self.deactivated + self.reactivated
        return bool(records_changed or self.company_created or self.company_updated)


@dataclass(frozen=True, slots=True)
class Job:
    """The arguments of an import, of a file or of rows."""

    kind: Kind
    company_id: str
    system: str | None
    on_duplicate: OnDuplicate
    partial: bool
    company_name: str | None
    industry: str | None
    actor: str
    record: RecordMappings | None
    file: str | None
    sha256: str | None = None


def check(job: Job) -> None:
    """Refuse arguments that no import can have.

    Raises:
        InvalidInputError: an argument is wrong; every wrong one is named.
        TypeError: ``record`` is missing for mappings, a mistake of the caller's code.
    """
    problems: list[FieldProblem] = []
    if job.kind not in ROW_TYPES:
        problems.append(FieldProblem(("kind",), f"{job.kind!r} is none of {', '.join(ROW_TYPES)}"))
    for field, value, longest in (
        ("company_id", job.company_id, 100),
        ("company_name", job.company_name, 300),
        ("industry", job.industry, 300),
    ):
        if value is not None and (not value.isprintable() or value != value.strip() or not 0 < len(value) <= longest):
            message = f"{value[:60]!r} is not 1 to {longest} printable characters without blanks around them"
            problems.append(FieldProblem((field,), message))
    if job.kind in WITH_SYSTEM:
        try:
            SYSTEM.validate_python(job.system)
        except ValidationError:
            message = f"{job.system!r} is no accounting system; give quickbooks, sage or xero"
            problems.append(FieldProblem(("system",), message))
    if problems:
        raise InvalidInputError("; ".join(f"{one.loc[0]}: {one.msg}" for one in problems), tuple(problems))
    if job.kind == "mappings" and job.record is None:
        raise TypeError("importing mappings takes record=…, the function that writes them")
