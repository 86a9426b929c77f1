"""``crewflow import`` prints counts, warnings and every bad row, and never a traceback."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from typer.testing import CliRunner

from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Account, Mapping, SourceItem
from pipelines.cli.main import app
from tests.ingest.exports import as_csv, as_xlsx, quickbooks


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["import", *map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    path = tmp_path / "Account List.xlsx"
    rows = [("50100 Job Expenses", "Expense", ""), ("50100 Job Expenses:50110 Materials", "Expense", "")]
    path.write_bytes(as_xlsx({"Account List": quickbooks(rows)}))
    return path


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    path = tmp_path / "codes.csv"
    path.write_bytes(as_csv([("Ref", "Label"), ("01", "[red]Café[/red]"), ("02", "Roof")], encoding="cp1252"))
    return path


def test_help_teaches_by_example() -> None:
    out, _ = run("--help")
    assert "crewflow import cost-codes codes.xlsx --company c-17" in out
    assert 'crewflow import accounts "Account List.xlsx" --company c-17 --dry-run' in out
    assert "--column code=Ref --column name=Label" in out


def test_a_database_without_tables_is_explained(home: Path, codes: Path) -> None:
    codes.write_bytes(as_csv([("Code", "Name"), ("01", "Roof")]))
    _, err = run("cost-codes", codes, "--company", "c-1", code=1)
    assert "the database cannot be used: no such table: companies" in err
    assert "crewflow db upgrade" in err


def test_a_company_is_imported_from_its_files(sqlite_store: Engine, chart: Path, codes: Path, tmp_path: Path) -> None:
    out, _ = run("accounts", chart, "--company", "c-1", "--company-name", "Hill & Sons", "--industry", "electrical")
    assert re.search(r"inserted\W+2\b", out)
    assert 'name from "Full name"' in out
    assert "The company c-1 was created." in out
    run("cost-codes", codes, "--company", "c-1", "--column", "code=Ref", "--column", "name=Label")
    mapped = tmp_path / "mapped.csv"
    mapped.write_bytes(as_csv([("Cost code", "Account"), ("01", "Materials")]))
    out, _ = run("mappings", mapped, "--company", "c-1")
    assert re.search(r"inserted\W+1\b", out)
    out, _ = run("mappings", mapped, "--company", "c-1")
    assert "Nothing changed: all of it was there already." in out
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 2
        assert set(session.scalars(select(SourceItem.name))) == {"[red]Café[/red]", "Roof"}
        assert session.scalars(select(Mapping.target_code)).all() == ["50110"]


def test_a_dry_run_writes_nothing(sqlite_store: Engine, chart: Path) -> None:
    out, _ = run("accounts", chart, "--company", "c-1", "--system", "sage", "--dry-run")
    assert "This was a dry run: nothing was written." in out
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 0


def test_warnings_are_shown(sqlite_store: Engine, codes: Path) -> None:
    codes.write_bytes(as_csv([("Code", "Name"), *[(f"{number}", "x") for number in range(20)]]))
    run("cost-codes", codes, "--company", "c-1")
    codes.write_bytes(as_csv([("Code", "Name"), ("1", "x")]))
    out, err = run("cost-codes", codes, "--company", "c-1")
    assert "Warning: 19 of 20 records were deactivated" in err
    assert re.search(r"deactivated\W+19\b", out)


def test_bad_rows_are_listed_and_the_list_is_capped(sqlite_store: Engine, codes: Path) -> None:
    codes.write_bytes(as_csv([("Code", "Name"), *[("", f"name {number}") for number in range(60)]]))
    out, err = run("cost-codes", codes, "--company", "c-1", code=1)
    assert out == ""
    assert "60 rows are wrong, so nothing was imported" in err
    assert len(re.findall("every cost code needs one", err)) == 50
    assert "and 10 more; list them with --all-problems" in err
    _, err = run("cost-codes", codes, "--company", "c-1", "--all-problems", code=1)
    assert len(re.findall("every cost code needs one", err)) == 60


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 1, 'no column holds the cost code: the columns of codes.csv, row 1 are "Ref", "Label"'),
        (["--column", "code"], 2, "is not field=Title"),
        (["--column", "code=Ref", "--column", "code=Label"], 2, "'code' is given twice"),
        (["--column", "kode=Ref"], 1, "cost code rows have no field 'kode'"),
        (["--system", "myob"], 2, "myob"),
    ],
)
def test_mistakes_are_explained(
    sqlite_store: Engine, codes: Path, arguments: list[str], code: int, says: str
) -> None:
    _, err = run("cost-codes", codes, "--company", "c-1", *arguments, code=code)
    assert says in " ".join(err.split())
    assert "Traceback" not in err


def test_a_file_that_is_not_there_is_named(sqlite_store: Engine) -> None:
    _, err = run("cost-codes", "none.csv", "--company", "c-1", code=2)
    assert "none.csv" in err
