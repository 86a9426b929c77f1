"""Importing a company's cost codes, projects, charts of accounts and mappings from files.

A file is validated whole before anything is written, and written in one transaction with its audit row. Importing
the same file again changes nothing.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.ingest import links, records
from crewflow_assets.ingest.columns import Kind, check_given, columns_of, header_score
from crewflow_assets.ingest.jobs import (
    WITH_SYSTEM,
    ImportedMapping,
    ImportReport,
    Job,
    MappingCounts,
    OnDuplicate,
    RecordMappings,
    check,
)
from crewflow_assets.ingest.rows import (
    ROW_TYPES,
    MappingRow,
    Placed,
    Row,
    read_rows,
)
from crewflow_assets.ingest.tables import check_size, read_table
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Company

__all__ = ["ImportReport", "ImportedMapping", "MappingCounts", "OnDuplicate", "import_file", "import_rows"]

DEFAULT_INDUSTRY = "general contractor"
T = TypeVar("T")


def import_file(
    path: Path,
    *,
    kind: Kind,
    company_id: str,
    system: str | None = None,
    columns: Mapping[str, str] | None = None,
    on_duplicate: OnDuplicate = "refuse",
    partial: bool = False,
    dry_run: bool = False,
    company_name: str | None = None,
    industry: str | None = None,
    actor: str = "import",
    record: RecordMappings | None = None,
) -> ImportReport:
    """Import a CSV or XLSX file into the configured database, whole or not at all.

    ``columns`` names the column of a field where its title is unusual, ``system`` the accounting system of accounts
    and mappings. A record that the file does not name is deactivated, unless the file is ``partial``. ``record``
    writes mappings and is needed for them. With ``dry_run`` the report says what would happen.

    Raises:
        InvalidInputError: the file cannot be read, or values are wrong; ``problems`` names every bad row.
    """
    try:
        check_size(path.stat().st_size, path.name)
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path}: the file cannot be read ({error.strerror}); check its path") from error
    job = Job(
        kind=kind,
        company_id=company_id,
        system=system,
        on_duplicate=on_duplicate,
        partial=partial,
        company_name=company_name,
        industry=industry,
        actor=actor,
        record=record,
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    check(job)
    check_given(kind, columns)
    table = read_table(content, path.name, lambda cells: header_score(cells, kind, columns))
    place = f"{path.name}, {f'sheet {table.sheet!r}, ' if table.sheet else ''}row {table.header_line}"
    found = columns_of(table.header, kind, columns, place=place)
    if not table.rows:
        raise InvalidInputError(f"{place}: there are no rows under the header; export the list again")
    placed, problems, titles = read_rows(table, kind, found)
    try:
        with transaction() as session:
            savepoint = session.begin_nested()
            report = _import(session, job, placed, problems, titles)
            if dry_run:
                savepoint.rollback()
    except _WrongRowsError as wrong:
        raise _refused(job, wrong) from None
    return replace(report, dry_run=dry_run, columns=tuple(titles.items()))


def import_rows(
    session: Session,
    kind: Kind,
    company_id: str,
    system: str | None,
    rows: Sequence[Row],
    *,
    on_duplicate: OnDuplicate = "refuse",
    partial: bool = False,
    company_name: str | None = None,
    industry: str | None = None,
    actor: str = "import",
    record: RecordMappings | None = None,
    source: str | None = None,
) -> ImportReport:
    """Import rows in the caller's transaction, as ``import_file`` does; ``source`` stands for the file's name.

    Raises:
        InvalidInputError: codes occur twice, or mappings refer to what does not exist; the caller must roll back.
        TypeError: a row is not of the kind's type, or ``record`` is missing for mappings.
    """
    job = Job(
        kind=kind,
        company_id=company_id,
        system=system,
        on_duplicate=on_duplicate,
        partial=partial,
        company_name=company_name,
        industry=industry,
        actor=actor,
        record=record,
        file=source,
    )
    check(job)
    wrong = next((row for row in rows if not isinstance(row, ROW_TYPES[kind])), None)
    if wrong is not None:
        raise TypeError(f"{kind} are imported from {ROW_TYPES[kind].__name__}, not {type(wrong).__name__}")
    try:
        return _import(session, job, [Placed(line, row) for line, row in enumerate(rows, start=1)], [], {})
    except _WrongRowsError as found:
        raise _refused(job, found) from None


class _WrongRowsError(Exception):
    """Rows are wrong; what was meant by the unclear ones is looked for once the transaction is over."""

    def __init__(self, problems: Sequence[FieldProblem], unclear: Sequence[links.Unclear] = ()) -> None:
        super().__init__(f"{len(problems)} problems, {len(unclear)} unclear texts")
        self.problems, self.unclear = problems, unclear


def _import(
    session: Session,
    job: Job,
    placed: Sequence[Placed[Row]],
    problems: Sequence[FieldProblem],
    titles: Mapping[str, str],
) -> ImportReport:
    """Write checked rows, the company and the audit row.

    Raises:
        _WrongRowsError: there is any problem.
    """
    moment = clock.now()
    system = job.system if job.kind in WITH_SYSTEM else None
    company = session.get(Company, job.company_id, with_for_update=True)
    if job.kind == "mappings":
        wanted = cast(Sequence[Placed[MappingRow]], placed)
        resolved, unclear = links.resolve(session, job.company_id, str(system), wanted, titles)
        place = titles.get("cost_code") or titles.get("project", "source")
        unique, twice = _unique([(line, link[:2], link) for line, link in resolved], job.on_duplicate, place)
        if problems or unclear or twice:
            raise _WrongRowsError([*problems, *twice], unclear)
        company, created, renamed = _saved(session, job, company, moment)
        changes = replace(_record(session, job, unique), skipped=len(placed) - len(unique))
    else:
        coded = cast(Sequence[Placed[records.CodedRow]], placed)
        place = titles.get("code") or titles.get("name", "code")
        in_use = [(entry.line, entry.row.code, entry.row) for entry in coded if entry.row.active]
        rows, twice = _unique(in_use, job.on_duplicate, place)
        if problems or twice:
            raise _WrongRowsError([*problems, *twice])
        company, created, renamed = _saved(session, job, company, moment)
        rows += [entry.row for entry in coded if not entry.row.active]
        changes = records.synchronise(
            session, job.kind, job.company_id, system, rows, partial=job.partial, moment=moment
        )
        changes = replace(changes, skipped=changes.skipped + len(placed) - len(rows))
    report = ImportReport(
        kind=job.kind,
        company_id=job.company_id,
        system=system,
        rows=len(placed),
        company_created=created,
        company_updated=renamed,
        **asdict(changes),
    )
    if report.changed:
        company.revision += 1
    counts = ("rows", "inserted", "updated", "deactivated", "reactivated", "unchanged", "skipped")
    origin = {"kind": job.kind, "system": system, "file": job.file, "sha256": job.sha256}
    write_audit(
        session,
        company_id=job.company_id,
        actor=job.actor,
        action="import",
        subject_type="company",
        subject_id=job.company_id,
        before=None,
        after=origin | {name: getattr(report, name) for name in counts},
    )
    session.flush()
    return report


def _unique(
    entries: Sequence[tuple[int, Hashable, T]], on_duplicate: OnDuplicate, title: str
) -> tuple[list[T], list[FieldProblem]]:
    """Return one entry for each key, or a problem for each row whose key another row has."""
    groups: dict[Hashable, list[tuple[int, T]]] = {}
    for line, key, entry in entries:
        groups.setdefault(key, []).append((line, entry))
    if on_duplicate != "refuse":
        chosen = 0 if on_duplicate == "first" else -1
        return [group[chosen][1] for group in groups.values()], []
    problems: list[FieldProblem] = []
    for key, group in groups.items():
        if len(group) > 1:
            lines = [str(line) for line, _ in group]
            code = key if isinstance(key, str) else cast(tuple[str, str], key)[1]
            message = (
                f"{code!r} stands in the rows {', '.join(lines[:-1])} and {lines[-1]}; keep one of them, or import "
                "with --on-duplicate first (or last)"
            )
            problems.extend(FieldProblem(("row", line, title), message) for line, _ in group)
    return [group[0][1] for group in groups.values()], problems


def _refused(job: Job, wrong: _WrongRowsError) -> InvalidInputError:
    problems = [*wrong.problems, *links.explain(wrong.unclear)]
    ordered = tuple(sorted(problems, key=lambda problem: int(problem.loc[1])))
    bad = len({problem.loc[1] for problem in ordered})
    return InvalidInputError(
        f"{job.file or 'the rows'}: {bad} {'row is' if bad == 1 else 'rows are'} wrong, so nothing was imported; "
        "correct them and import again",
        ordered,
    )


def _saved(session: Session, job: Job, company: Company | None, moment: datetime) -> tuple[Company, bool, bool]:
    """Create or rename the company; return it, and whether it is new or was changed."""
    if company is None:
        company = Company(
            id=job.company_id,
            name=job.company_name or job.company_id,
            industry=job.industry or DEFAULT_INDUSTRY,
            created_at=moment,
            revision=0,
        )
        try:
            with session.begin_nested():
                session.add(company)
        except IntegrityError:  # another import created it meanwhile
            company = session.get_one(Company, job.company_id, with_for_update=True)
        else:
            return company, True, False
    before = (company.name, company.industry)
    company.name = job.company_name or company.name
    company.industry = job.industry or company.industry
    return company, False, before != (company.name, company.industry)


def _record(session: Session, job: Job, unique: Sequence[links.Link]) -> records.Changes:
    """Hand the mappings on to the function that writes them."""
    if job.record is None:
        raise TypeError("importing mappings takes record=…, the function that writes them")
    mappings = [
        ImportedMapping(
            company_id=job.company_id,
            kind=kind,
            system=str(job.system),
            source_code=source_code,
            target_code=target_code,
        )
        for kind, source_code, target_code in unique
    ]
    counts = job.record(session, mappings)
    return records.Changes(inserted=counts.inserted, updated=counts.updated, unchanged=counts.unchanged)
