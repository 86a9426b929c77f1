"""Columns are recognised by what people call them."""

from pathlib import Path

import pytest

from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.columns import FIELDS, Kind, columns_of, header_score, normalise


@pytest.mark.parametrize(
    "header", ["Account #", "ACCOUNT NO.", "Accnt. #", "Acct Number", "*Account_Number", "account   nr", "Account#"]
)
def test_spellings_of_a_title_are_one(header: str) -> None:
    assert normalise(header) == "account number"


@pytest.mark.parametrize(
    ("kind", "header", "fields"),
    [
        ("accounts", ["", "Account #", "Full name", "Type", "Detail type"], ["", "code", "name", "type", "detail"]),
        ("accounts", ["Account", "Type", "Balance Total", "Description", "Accnt. #"], "name type - description code"),
        ("accounts", ["*Code", "*Name", "*Type", "*Tax Code", "Description"], "code name type - description"),
        ("accounts", ["N/C", "Name"], "code name"),
        ("accounts", ["Account", "Account name", "Parent"], "code name parent"),
        ("accounts", ["Account number", "Title", "Status"], "code name active"),
        ("accounts", ["Nominal Code", "Nominal Name", "Inactive"], "code name inactive"),
        ("cost_codes", ["Cost Code", "Phase", "Description"], "code group name"),
        ("cost_codes", ["Code", "Name", "Description", "Cost type"], "code name description group"),
        ("cost_codes", ["Phase", "Description", "Division"], "code name group"),
        ("cost_codes", ["DIVISION", "CODE", "DESCRIPTION", "ACTIVE?"], "group code name active"),
        ("projects", ["Job #", "Job", "Customer"], "code name customer"),
        ("projects", ["Customer:Job", "Job Type"], "name project_type"),
        ("projects", ["Job", "Name", "Client"], "code name customer"),
        ("projects", ["Project", "Customer", "Status"], "name customer active"),
        ("mappings", ["Cost code", "QuickBooks account"], "cost_code account"),
        ("mappings", ["Job", "GL Account"], "project account"),
        ("mappings", ["Source code", "Account #", "Account name"], "cost_code account account_name"),
    ],
)
def test_usual_headers_are_recognised(kind: Kind, header: list[str], fields: str | list[str]) -> None:
    expected = fields.split() if isinstance(fields, str) else fields
    found = {index: name for name, index in columns_of(header, kind).items()}
    assert [
        found.get(index, expected[index] if expected[index] in ("-", "") else None) for index in range(len(header))
    ] == expected


def test_titles_without_a_word_are_no_columns() -> None:
    assert header_score(["-", "#", ":", "0"], "cost_codes") == 0


def test_given_columns_go_before_the_usual_ones() -> None:
    header = ["Ref", "Code", "Label"]
    assert columns_of(header, "accounts", {"code": "REF", "name": "label"}) == {"code": 0, "name": 2}
    assert header_score(header, "accounts") == 0
    assert header_score(header, "accounts", {"name": "Label"}) == 2
    assert header_score(header, "accounts", {"name": "Title"}) == 0


def test_a_missing_column_names_the_headers_and_the_remedy() -> None:
    with pytest.raises(InvalidInputError) as caught:
        columns_of(["Kode", "", "Label"], "cost_codes", place="codes.csv, row 1")
    message = str(caught.value)
    assert 'no column holds the cost code: the columns of codes.csv, row 1 are "Kode", "Label"' in message
    assert '--column code="…"' in message
    assert [problem.loc for problem in caught.value.problems] == [("column", "code"), ("column", "name")]


def test_a_given_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInputError, match='no column "Ref" in the header; the columns are "Code", "Name"'):
        columns_of(["Code", "Name"], "cost_codes", {"code": "Ref"})


def test_a_field_that_the_kind_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="account rows have no field 'number'; they have code, name, type"):
        columns_of(["Code", "Name"], "accounts", {"number": "Code"})


def test_the_usual_names_are_written_as_they_are_compared() -> None:
    for fields in FIELDS.values():
        for field in fields:
            names = [name for name in f"{field.names}, {field.last_resort}".split(", ") if name]
            assert [normalise(name) for name in names] == names
            assert len(set(names)) == len(names)


def test_every_recognised_title_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "imports.md").read_text(encoding="utf-8")
    for fields in FIELDS.values():
        for field in fields:
            last = f" · last: {field.last_resort}" if field.last_resort else ""
            assert f"| {field.meaning} | {field.names}{last} |" in documented
