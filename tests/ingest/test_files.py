"""Imports are whole or nothing, say what they did, and change nothing the second time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from crewflow_assets import clock
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.columns import Kind
from crewflow_assets.ingest.files import ImportReport, import_file, import_rows
from crewflow_assets.ingest.rows import AccountRow, CostCodeRow, ProjectRow
from crewflow_assets.ingest.tables import MAX_BYTES
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Account, AuditEntry, Company, Mapping, SourceItem
from tests.ingest.exports import as_csv, as_xlsx, quickbooks

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODES = [("01-100", "Sitework", "01"), ("01-200", "Café fit-out", "01"), ("16-100", "Rough Electrical", "16")]
CHART = [("50100 Job Expenses", "Expense", ""), ("50100 Job Expenses:50110 Materials", "Expense", "")]


def counts(report: ImportReport) -> dict[str, int]:
    names = ("inserted", "updated", "deactivated", "reactivated", "unchanged", "skipped")
    return {name: value for name in names if (value := getattr(report, name))}


def write(folder: Path, rows: Sequence[Sequence[object]], name: str = "codes.csv") -> Path:
    path = folder / name
    path.write_bytes(as_csv(rows))
    return path


def codes(folder: Path, rows: Sequence[Sequence[object]], **options: object) -> ImportReport:
    path = write(folder, [("Cost Code", "Name", "Division"), *rows])
    arguments = {"kind": "cost_codes", "company_id": "c-1", **options}
    return import_file(path, **arguments)  # type: ignore[arg-type]


def accounts(folder: Path, rows: Sequence[Sequence[object]], **options: object) -> ImportReport:
    path = folder / "Account List.xlsx"
    path.write_bytes(as_xlsx({"Account List": quickbooks(rows)}))
    arguments = {"kind": "accounts", "company_id": "c-1", "system": "quickbooks", **options}
    return import_file(path, **arguments)  # type: ignore[arg-type]


def stored_codes() -> dict[str, bool]:
    with reading() as session:
        rows = session.execute(select(SourceItem.code, SourceItem.deactivated_at).order_by(SourceItem.code))
        return {code: gone is None for code, gone in rows}


def company() -> Company:
    with reading() as session:
        return session.get_one(Company, "c-1")


def test_a_first_import_creates_the_company_and_the_records(store: Engine, tmp_path: Path) -> None:
    with clock.fixed(START):
        report = codes(tmp_path, CODES)
    assert counts(report) == {"inserted": 3}
    assert report.company_created
    assert report.columns == (("code", "Cost Code"), ("name", "Name"), ("group", "Division"))
    assert (company().name, company().industry, company().revision) == ("c-1", "general contractor", 1)
    with reading() as session:
        item = session.scalars(select(SourceItem).where(SourceItem.code == "01-200")).one()
    assert (item.kind, item.name, item.group_name, item.created_at) == ("cost_code", "Café fit-out", "01", START)


def test_a_chart_is_stored_with_codes_names_and_parents(store: Engine, tmp_path: Path) -> None:
    accounts(tmp_path, CHART)
    with reading() as session:
        rows = session.execute(select(Account.system, Account.code, Account.name, Account.type, Account.parent))
        assert sorted(map(tuple, rows)) == [
            ("quickbooks", "50100", "Job Expenses", "Expense", None),
            ("quickbooks", "50110", "Materials", "Expense", "Job Expenses"),
        ]


def test_importing_again_changes_nothing_and_says_so(store: Engine, tmp_path: Path) -> None:
    codes(tmp_path, CODES)
    revision = company().revision
    report = codes(tmp_path, list(reversed(CODES)))
    assert counts(report) == {"unchanged": 3}
    assert not report.changed
    assert company().revision == revision


def test_a_newer_file_updates_deactivates_and_brings_back(store: Engine, tmp_path: Path) -> None:
    codes(tmp_path, CODES)
    with clock.fixed(START + timedelta(days=1)):
        report = codes(tmp_path, [CODES[0], ("01-200", "Shop fit-out", "01")])
    assert counts(report) == {"updated": 1, "deactivated": 1, "unchanged": 1}
    with reading() as session:
        gone = session.scalars(select(SourceItem).where(SourceItem.code == "16-100")).one()
        assert gone.deactivated_at == START + timedelta(days=1)
    report = codes(tmp_path, [CODES[0], ("01-200", "Shop fit-out", "01"), CODES[2]])
    assert counts(report) == {"reactivated": 1, "unchanged": 2}
    assert all(stored_codes().values())


def test_a_partial_file_deactivates_nothing_it_lacks(store: Engine, tmp_path: Path) -> None:
    codes(tmp_path, CODES)
    assert counts(codes(tmp_path, [("99", "New", "")], partial=True)) == {"inserted": 1}
    assert all(stored_codes().values())


def test_rows_out_of_use_deactivate_and_are_not_inserted(store: Engine, tmp_path: Path) -> None:
    codes(tmp_path, CODES)
    path = write(tmp_path, [("Code", "Name", "Active"), ("01-100", "Sitework", "No"), ("99", "Never", "No")])
    report = import_file(path, kind="cost_codes", company_id="c-1", partial=True)
    assert counts(report) == {"deactivated": 1, "skipped": 1}
    assert stored_codes() == {"01-100": False, "01-200": True, "16-100": True}


def test_a_file_that_lacks_most_records_warns(store: Engine, tmp_path: Path) -> None:
    codes(tmp_path, [(f"{number:02}", "Name", "") for number in range(20)])
    report = codes(tmp_path, [("00", "Name", "")])
    assert report.deactivated == 19
    assert "19 of 20 records were deactivated" in report.warnings[0]


def test_a_bad_row_refuses_the_file_and_nothing_is_written(store: Engine, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        codes(tmp_path, [CODES[0], ("", "No code", ""), ("02", "\x02", ""), CODES[0]])
    assert "codes.csv: 4 rows are wrong, so nothing was imported" in str(caught.value)
    assert [problem.loc for problem in caught.value.problems] == [
        ("row", 2, "Cost Code"),
        ("row", 3, "Cost Code"),
        ("row", 4, "Name"),
        ("row", 5, "Cost Code"),
    ]
    assert "'01-100' stands in the rows 2 and 5" in caught.value.problems[0].msg
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Company)) == 0
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 0


@pytest.mark.parametrize(("on_duplicate", "name"), [("first", "Sitework"), ("last", "Sitework again")])
def test_one_of_several_rows_with_a_code_may_be_chosen(
    store: Engine, tmp_path: Path, on_duplicate: str, name: str
) -> None:
    rows = [CODES[0], CODES[1], ("01-100", "Sitework again", "01")]
    report = codes(tmp_path, rows, on_duplicate=on_duplicate)
    assert counts(report) == {"inserted": 2, "skipped": 1}
    with reading() as session:
        assert session.scalar(select(SourceItem.name).where(SourceItem.code == "01-100")) == name


def test_a_dry_run_says_what_would_happen_and_writes_nothing(store: Engine, tmp_path: Path) -> None:
    report = codes(tmp_path, CODES, dry_run=True)
    assert report.dry_run
    assert counts(report) == {"inserted": 3}
    with reading() as session:
        assert session.get(Company, "c-1") is None
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 0


def test_each_import_leaves_one_audit_row(store: Engine, tmp_path: Path) -> None:
    for _ in range(2):
        with clock.fixed(START):
            codes(tmp_path, CODES, actor="support@example.com")
    with reading() as session:
        first, second = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert (first.actor, first.action, first.at) == ("support@example.com", "import", START)
    assert (first.subject_type, first.subject_id, first.before) == ("company", "c-1", None)
    assert first.after is not None
    assert second.after is not None
    assert (first.after["kind"], first.after["file"], first.after["inserted"]) == ("cost_codes", "codes.csv", 3)
    assert len(first.after["sha256"]) == 64
    assert (second.after["inserted"], second.after["unchanged"]) == (0, 3)


def test_name_and_industry_are_kept_unless_given(store: Engine, tmp_path: Path) -> None:
    codes(tmp_path, CODES, company_name="Hill & Sons", industry="electrical")
    codes(tmp_path, CODES)
    assert (company().name, company().industry) == ("Hill & Sons", "electrical")
    report = codes(tmp_path, CODES, industry="plumbing")
    assert (report.company_updated, report.changed, company().industry) == (True, True, "plumbing")
    assert company().revision == 2


def test_systems_and_kinds_and_companies_are_kept_apart(store: Engine, tmp_path: Path) -> None:
    accounts(tmp_path, CHART)
    assert counts(accounts(tmp_path, CHART[:1], system="sage")) == {"inserted": 1}
    assert counts(codes(tmp_path, CODES)) == {"inserted": 3}
    assert counts(codes(tmp_path, CODES, kind="projects", columns={"code": "Cost Code"})) == {"inserted": 3}
    assert counts(codes(tmp_path, CODES, company_id="c-2")) == {"inserted": 3}
    assert counts(accounts(tmp_path, CHART)) == {"unchanged": 2}


def test_an_account_with_mappings_is_deactivated_with_a_warning(store: Engine, tmp_path: Path) -> None:
    accounts(tmp_path, CHART)
    with transaction() as session:
        for number in range(7):
            session.add(
                Mapping(
                    company_id="c-1",
                    kind="cost_code",
                    source_code=f"{number:02}",
                    system="quickbooks" if number else "sage",
                    target_code="50110" if number != 1 else None,
                    decision_id=f"d-{number}",
                    decided_by="someone",
                    decided_at=START,
                )
            )
    report = accounts(tmp_path, CHART[:1])
    assert counts(report) == {"deactivated": 1, "unchanged": 1}
    assert report.warnings == (
        "account '50110' (Materials) was deactivated, and 5 mapped items point to it: 02, 03, 04, 05, 06; "
        "map them to another account",
    )


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"company_id": ""}, "company_id", "1 to 100 printable characters"),
        ({"company_id": "c\x00"}, "company_id", "1 to 100 printable characters"),
        ({"company_id": "c" * 101}, "company_id", "1 to 100 printable characters"),
        ({"industry": " "}, "industry", "1 to 300 printable characters"),
        ({"kind": "invoices"}, "kind", "'invoices' is none of accounts, cost_codes"),
        ({"kind": "accounts"}, "system", "None is no accounting system; give quickbooks, sage or xero"),
        ({"kind": "accounts", "system": "Quick Books"}, "system", "'Quick Books' is no accounting system"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, options: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        codes(tmp_path, CODES, **options)
    assert [problem.loc for problem in caught.value.problems] == [(field,)]


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.csv: the file cannot be read \(No such file"):
        import_file(tmp_path / "none.csv", kind="cost_codes", company_id="c-1")
    with pytest.raises(InvalidInputError, match="no rows under the header"):
        codes(tmp_path, [])
    path = write(tmp_path, [("Kode", "Label"), ("1", "a")])
    with pytest.raises(InvalidInputError, match=r'codes\.csv, row 1 are "Kode", "Label"'):
        import_file(path, kind="cost_codes", company_id="c-1")
    with pytest.raises(InvalidInputError, match="cost code rows have no field 'kode'"):
        import_file(path, kind="cost_codes", company_id="c-1", columns={"kode": "Kode"})


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "codes.csv"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 2**20)

    def read_whole(self: Path) -> bytes:
        raise AssertionError(f"{self} was read")

    monkeypatch.setattr(Path, "read_bytes", read_whole)
    with pytest.raises(InvalidInputError, match=r"codes\.csv: 65 MB is more than the 64 MB that an import reads"):
        import_file(path, kind="cost_codes", company_id="c-1")


def test_rows_are_imported_in_the_callers_transaction(store: Engine) -> None:
    chart = [AccountRow(code="50110", name="Materials", type="Expense", parent="Job Expenses")]
    with transaction() as session:
        first = import_rows(session, "accounts", "c-1", "xero", chart, industry="roofing", source="opening")
        import_rows(session, "cost_codes", "c-1", None, [CostCodeRow(code="01", name="Roof", group="A")])
        import_rows(session, "projects", "c-1", None, [ProjectRow(code="p-1", name="Barn", project_type="farm")])
    assert (first.company_created, counts(first)) == (True, {"inserted": 1})
    assert (company().industry, company().revision) == ("roofing", 3)
    with reading() as session:
        assert session.scalar(select(SourceItem.project_type).where(SourceItem.kind == "project")) == "farm"
        afters = session.scalars(select(AuditEntry.after).order_by(AuditEntry.id)).all()
    assert [after and after["file"] for after in afters] == ["opening", None, None]


def test_wrong_rows_are_refused(sqlite_store: Engine) -> None:
    row = CostCodeRow(code="01", name="Roof")
    with pytest.raises(InvalidInputError, match="the rows: 2 rows are wrong") as caught, transaction() as session:
        import_rows(session, "cost_codes", "c-1", None, [row, row])
    assert caught.value.problems[1].loc == ("row", 2, "code")
    with transaction() as session, pytest.raises(TypeError, match="from AccountRow, not CostCodeRow"):
        import_rows(session, "accounts", "c-1", "sage", [row])


def test_two_first_imports_at_once_both_succeed(store: Engine, tmp_path: Path) -> None:
    def first_import(number: int) -> ImportReport:
        path = write(tmp_path, [("Code", "Name"), *[row[:2] for row in CODES]], f"{number}.csv")
        kind: Kind = "projects" if number % 2 else "cost_codes"
        return import_file(path, kind=kind, company_id="c-1")

    with ThreadPoolExecutor(6) as pool:
        reports = list(pool.map(first_import, range(6)))
    assert sum(report.company_created for report in reports) == 1
    assert sorted(report.inserted for report in reports) == [0, 0, 0, 0, 3, 3]


def test_thousands_of_rows_are_written_in_bulk(store: Engine, tmp_path: Path) -> None:
    rows = [(f"{number:06}", f"Rough electrical {number}", "16") for number in range(10_000)]
    assert codes(tmp_path, rows).inserted == 10_000
    assert codes(tmp_path, [(code, f"{name} x", group) for code, name, group in rows]).updated == 10_000
    assert codes(tmp_path, rows[:1]).deactivated == 9_999
