"""Mappings refer to items and accounts that exist, by code or by name."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.files import ImportedMapping, ImportReport, MappingCounts, import_file, import_rows
from crewflow_assets.ingest.rows import AccountRow, CostCodeRow, ProjectRow
from crewflow_assets.ingest.suggestions import Suggestions
from crewflow_assets.store.database import engine, reading, transaction
from crewflow_assets.store.tables import AuditEntry, Company
from tests.ingest.exports import as_csv

CHART = [
    AccountRow(code="50110", name="Materials", parent="Job Expenses"),
    AccountRow(code="50120", name="Labor", parent="Job Expenses"),
    AccountRow(code="60120", name="Labor", parent="Overhead"),
    AccountRow(code="Travel:Hotel", name="Hotel", parent="Travel"),
    AccountRow(code="70000", name="50110"),
]
CODES = [CostCodeRow(code="01-100", name="Sitework"), CostCodeRow(code="ELEC-5", name="Wire")]


class Recorder:
    """Stands where the model's function goes: remembers what it was given."""

    def __init__(self, counts: MappingCounts) -> None:
        self.counts = counts
        self.given: list[ImportedMapping] = []

    def __call__(self, _session: Session, mappings: list[ImportedMapping], /) -> MappingCounts:
        self.given = mappings
        return self.counts


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        import_rows(session, "accounts", "c-1", "quickbooks", CHART)
        import_rows(session, "cost_codes", "c-1", None, CODES)
        import_rows(session, "projects", "c-1", None, [ProjectRow(code="Hill:Bath", name="Bath", group="Hill")])
    return "c-1"


def mappings(folder: Path, rows: Sequence[tuple[str, ...]], recorder: Recorder, **options: object) -> ImportReport:
    path = folder / "mapped.csv"
    path.write_bytes(as_csv([("Cost code", "Project", "QuickBooks account"), *rows]))
    arguments = {"kind": "mappings", "company_id": "c-1", "system": "quickbooks", "record": recorder, **options}
    return import_file(path, **arguments)  # type: ignore[arg-type]


def test_items_and_accounts_are_found_as_people_write_them(company: str, tmp_path: Path) -> None:
    recorder = Recorder(MappingCounts(inserted=2, updated=1))
    rows = [("elec-5", "", "materials"), ("", "Hill:Bath", "Job Expenses:Labor"), ("01-100", "", "50110 Materials")]
    report = mappings(tmp_path, rows, recorder)
    assert recorder.given == [
        ImportedMapping("c-1", "cost_code", "quickbooks", "ELEC-5", "50110"),
        ImportedMapping("c-1", "project", "quickbooks", "Hill:Bath", "50120"),
        ImportedMapping("c-1", "cost_code", "quickbooks", "01-100", "50110"),
    ]
    assert (report.rows, report.inserted, report.updated, report.changed) == (3, 2, 1, True)
    with reading() as session:
        assert session.get_one(Company, company).revision == 4


def test_a_code_goes_before_a_name(company: str, tmp_path: Path) -> None:
    recorder = Recorder(MappingCounts(unchanged=1))
    report = mappings(tmp_path, [("01-100", "", "50110")], recorder)
    assert recorder.given[0].target_code == "50110"
    assert not report.changed


def test_what_does_not_exist_is_named_with_the_nearest_code(company: str, tmp_path: Path) -> None:
    rows = [("01-10", "", "5011"), ("01-100", "", "Labor"), ("zzz", "", "Hotel"), ("", "Hill:Bath", "")]
    with pytest.raises(InvalidInputError) as caught:
        mappings(tmp_path, rows, Recorder(MappingCounts()))
    assert [(problem.loc, problem.msg) for problem in caught.value.problems] == [
        (
            ("row", 2, "Cost code"),
            "'01-10' is no active cost code of company 'c-1'; did you mean '01-100'? Otherwise import the missing "
            "record first",
        ),
        (
            ("row", 2, "QuickBooks account"),
            "'5011' is no active quickbooks account of company 'c-1'; did you mean '50110'? Otherwise import the "
            "missing record first",
        ),
        (("row", 3, "QuickBooks account"), "'Labor' may mean '50120', '60120'; write the code"),
        (
            ("row", 4, "Cost code"),
            "'zzz' is no active cost code of company 'c-1'; correct it, remove the row, or import the missing record "
            "first",
        ),
        (("row", 5, "QuickBooks account"), "is empty; every mapping needs one: fill it in or remove the row"),
    ]


def test_a_text_that_is_wrong_in_both_columns_is_named_with_the_nearest_of_each(company: str, tmp_path: Path) -> None:
    with transaction() as session:
        import_rows(session, "cost_codes", "c-1", None, [CostCodeRow(code="Material", name="Stuff")], partial=True)
    with pytest.raises(InvalidInputError) as caught:
        mappings(tmp_path, [("Materiel", "", "Materiel")], Recorder(MappingCounts()))
    assert [problem.msg.split("; ")[1].split("?")[0] for problem in caught.value.problems] == [
        "did you mean 'Material'",
        "did you mean '50110'",
    ]


def test_a_company_without_records_is_told_to_import_those_first(sqlite_store: Engine, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        mappings(tmp_path, [("01", "", "5")], Recorder(MappingCounts()))
    assert all("which has none; import those first" in problem.msg for problem in caught.value.problems)
    with reading() as session:
        assert session.get(Company, "c-1") is None


def test_deactivated_records_are_not_mapped(company: str, tmp_path: Path) -> None:
    with transaction() as session:
        import_rows(session, "accounts", "c-1", "quickbooks", CHART[1:])
    with pytest.raises(InvalidInputError, match="1 row is wrong"):
        mappings(tmp_path, [("01-100", "", "Materials")], Recorder(MappingCounts()))


def test_an_item_mapped_twice_is_refused_unless_one_row_is_chosen(company: str, tmp_path: Path) -> None:
    rows = [("elec-5", "", "50110"), ("ELEC-5", "", "50120")]
    recorder = Recorder(MappingCounts(inserted=1))
    with pytest.raises(InvalidInputError) as caught:
        mappings(tmp_path, rows, recorder)
    assert [problem.loc for problem in caught.value.problems] == [("row", 2, "Cost code"), ("row", 3, "Cost code")]
    assert "'ELEC-5' stands in the rows 2 and 3" in caught.value.problems[0].msg
    report = mappings(tmp_path, rows, recorder, on_duplicate="last")
    assert (report.rows, report.inserted, report.skipped) == (2, 1, 1)
    assert [mapping.target_code for mapping in recorder.given] == ["50120"]


def test_a_dry_run_undoes_what_the_recorder_wrote(company: str, tmp_path: Path) -> None:
    def record(session: Session, given: list[ImportedMapping]) -> MappingCounts:
        session.get_one(Company, "c-1").name = "renamed"
        return MappingCounts(inserted=len(given))

    path = tmp_path / "mapped.csv"
    path.write_bytes(as_csv([("Cost code", "Account"), ("01-100", "50110")]))
    report = import_file(path, kind="mappings", company_id="c-1", system="quickbooks", record=record, dry_run=True)
    assert report.inserted == 1
    with reading() as session:
        assert session.get_one(Company, "c-1").name == "c-1"
        assert len(session.scalars(select(AuditEntry)).all()) == 3


def test_mappings_without_a_recorder_are_the_callers_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mapped.csv"
    path.write_bytes(as_csv([("Cost code", "Account"), ("01-100", "50110")]))
    with pytest.raises(TypeError, match="takes record="):
        import_file(path, kind="mappings", company_id="c-1", system="quickbooks")


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_was_meant_is_looked_for_while_no_transaction_is_open(
    company: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """It takes seconds, and on SQLite a transaction keeps every other writer out."""
    open_connections: list[int] = []
    nearest = Suggestions.nearest

    def watched(self: Suggestions, what: str, text: str, known: Iterable[str]) -> str | None:
        pool = engine().pool
        assert isinstance(pool, QueuePool)
        open_connections.append(pool.checkedout())
        return nearest(self, what, text, known)

    monkeypatch.setattr(Suggestions, "nearest", watched)
    rows = [("ELEC-05", "", "materials"), ("01-100", "", "Matrials")]
    with pytest.raises(InvalidInputError) as caught:
        mappings(tmp_path, rows, Recorder(MappingCounts()), dry_run=dry_run)
    assert [("did you mean" in problem.msg) for problem in caught.value.problems] == [True, True]
    assert open_connections == [0, 0]
