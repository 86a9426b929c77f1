"""Cells become typed rows, and every bad value is named with its row, column and remedy."""

import pytest
from pydantic import ValidationError

from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.ingest.columns import Kind, columns_of
from crewflow_assets.ingest.rows import AccountRow, CostCodeRow, MappingRow, ProjectRow, Row, read_rows
from crewflow_assets.ingest.tables import Line, Table


def read(kind: Kind, header: str, *rows: tuple[str, ...]) -> tuple[list[Row], list[FieldProblem]]:
    titles = tuple(header.split(","))
    lines = tuple(Line(number, cells) for number, cells in enumerate(rows, start=2))
    placed, problems, _ = read_rows(Table(titles, 1, lines), kind, columns_of(titles, kind))
    return [entry.row for entry in placed], problems


def only(problems: list[FieldProblem]) -> FieldProblem:
    assert len(problems) == 1, problems
    return problems[0]


def test_text_is_trimmed_and_composed() -> None:
    row = CostCodeRow(code=" 01\u00a0 100\u200b", name="Cafe\u0301  for\n crew", description=" ", group=None)
    assert (row.code, row.name, row.description) == ("01 100", "Café for crew", None)


@pytest.mark.parametrize("name", ["a\x00b", "a\x1bb", "a\ud800b", "a\x85b\x01"])
def test_control_characters_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="contains the control character"):
        AccountRow(code="1", name=name)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        CostCodeRow.model_validate({"code": "1", "name": "a", "colour": "red"})


@pytest.mark.parametrize(
    ("cells", "column", "says"),
    [
        (("", "a", ""), "Cost Code", "is empty; every cost code needs one"),
        (("01", "", ""), "Name", "is empty"),
        (("1" * 101, "a", ""), "Cost Code", "has 101 characters; shorten it to 100"),
        (("01", "a" * 301, ""), "Name", "has 301 characters; shorten it to 300"),
        (("01", "a\x07", ""), "Name", "contains the control character U+0007; remove it"),
        (("#REF!", "a", ""), "Cost Code", "is an error of the spreadsheet"),
        (("2025-03-10 00:00:00", "a", ""), "Cost Code", "looks like a date that Excel made of a code"),
        (("10-Mar", "a", ""), "Cost Code", "format the column as Text"),
        (("1.23457E+11", "a", ""), "Cost Code", "long number that Excel shortened"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_remedy(cells: tuple[str, ...], column: str, says: str) -> None:
    rows, problems = read("cost_codes", "Cost Code,Name,Division", ("00", "good", ""), cells)
    problem = only(problems)
    assert problem.loc == ("row", 3, column)
    assert says in problem.msg
    assert len(rows) == 1


def test_every_bad_value_of_every_row_is_named() -> None:
    _, problems = read("cost_codes", "Code,Name", ("", ""), ("01", "a"), ("02", "\x01"), ("03", "a", "beyond"))
    assert [problem.loc for problem in problems] == [
        ("row", 2, "Code"),
        ("row", 2, "Name"),
        ("row", 4, "Name"),
        ("row", 5),
    ]
    assert "'beyond' stands beyond the last column; the header has 2" in problems[-1].msg


def test_an_account_without_a_name_is_one_problem() -> None:
    assert only(read("accounts", "Full name,Type", ("", "Bank"))[1]).loc == ("row", 2, "Full name")


def test_accounts_take_type_or_else_detail_type() -> None:
    rows, _ = read(
        "accounts", "Account #,Full name,Type,Detail type", ("1", "A:B", "Bank", "Checking"), ("2", "C", "", "Cash")
    )
    assert rows == [
        AccountRow(code="1", name="B", parent="A", type="Bank"),
        AccountRow(code="2", name="C", type="Cash"),
    ]


def test_numbers_in_the_account_column_make_the_description_the_name() -> None:
    rows, _ = read("accounts", "Account,Description,Type", ("5010", "Lumber", "Expense"), ("5020-10", "Steel", ""))
    assert rows == [AccountRow(code="5010", name="Lumber", type="Expense"), AccountRow(code="5020-10", name="Steel")]
    rows, _ = read("accounts", "Account,Description", ("Lumber", "bought"), ("5020", "a remark"))
    assert rows == [AccountRow(code="Lumber", name="Lumber"), AccountRow(code="5020", name="5020")]


def test_numbers_alone_are_no_chart() -> None:
    with pytest.raises(InvalidInputError, match=r'column "Account" holds only numbers; .* --column name="…"'):
        read("accounts", "Account,Type", ("5010", "Expense"))


@pytest.mark.parametrize(
    ("header", "value", "active"),
    [
        ("Active", "Yes", True),
        ("Active", "No", False),
        ("Active", "FALSE", False),
        ("Status", "Inactive", False),
        ("Status", "", True),
        ("Status", "In progress", True),
        ("Inactive", "Yes", False),
        ("Inactive", "no", True),
        ("Inactive", "", True),
        ("Inactive", "inactive", False),
        ("Inactive", "Not Active", False),
        ("Inactive", "Active", True),
        ("Inactive", "0", True),
        ("Archived", "Archived", False),
        ("Archived", "Closed", False),
        ("Archived", "False", True),
    ],
)
def test_records_out_of_use_are_recognised(header: str, value: str, active: bool) -> None:
    rows, _ = read("cost_codes", f"Code,Name,{header}", ("01", "a", value))
    assert rows == [CostCodeRow(code="01", name="a", active=active)]


def test_quickbooks_deleted_accounts_are_out_of_use() -> None:
    rows, _ = read("accounts", "Full name", ("Materials (deleted)",), ("Job:Fuel (deleted 2)",))
    assert rows == [
        AccountRow(code="Materials", name="Materials", active=False),
        AccountRow(code="Job:Fuel", name="Fuel", parent="Job", active=False),
    ]


def test_projects_are_known_by_number_or_by_customer_and_name() -> None:
    rows, _ = read(
        "projects",
        "Job #,Job,Customer,Job Type",
        ("24-01", "Kitchen", "Hill", "residential"),
        ("", "Hill:Bath", "Hill", ""),
        ("", "Roof", "", ""),
    )
    assert rows == [
        ProjectRow(code="24-01", name="Kitchen", group="Hill", project_type="residential"),
        ProjectRow(code="Hill:Bath", name="Bath", group="Hill"),
        ProjectRow(code="Roof", name="Roof"),
    ]


def test_mappings_name_a_cost_code_or_a_project() -> None:
    rows, problems = read(
        "mappings",
        "Cost code,Job,Account #,Account name",
        ("01", "", "50110", "Materials"),
        ("", "24-01", "", "Sales"),
        ("01", "24-01", "1", ""),
        ("", "", "1", ""),
        ("01", "", "", ""),
    )
    assert rows == [
        MappingRow(kind="cost_code", source="01", target="50110"),
        MappingRow(kind="project", source="24-01", target="Sales"),
    ]
    assert [problem.loc for problem in problems] == [
        ("row", 4, "Job"),
        ("row", 5, "Cost code"),
        ("row", 6, "Account #"),
    ]
    assert "give each of the two a row of its own" in problems[0].msg
