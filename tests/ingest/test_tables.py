"""Files in every dialect and encoding come back as the table that was exported."""

import csv
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.columns import header_score
from crewflow_assets.ingest.tables import MAX_BYTES, Table, read_table
from tests.ingest.exports import as_csv, as_xlsx, quickbooks

HEADER = ("Cost Code", "Name", "Division")
ROWS = [("01-100", "Café – kitchen", "01"), ("01-200", 'Pipe 2"; PVC, white | blue', "02"), ("01-300", "a\nb", "")]
# Letters of both Windows-1252 and Unicode; none of their bytes can be mistaken for UTF-8.
LETTERS = "abcXYZ0159 .,;|\t'\"&()/#-:éèüñØßÀÿ\n"


def read(content: bytes, name: str = "codes.csv") -> Table:
    return read_table(content, name, lambda cells: header_score(cells, "cost_codes"))


def cells(table: Table) -> list[tuple[str, ...]]:
    return [row.cells for row in table.rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_every_delimiter_and_encoding_is_read(encoding: str, delimiter: str) -> None:
    table = read(as_csv([HEADER, *ROWS], encoding=encoding, delimiter=delimiter))
    assert table.header == HEADER
    assert cells(table) == ROWS


def cell(exclude: str = "") -> st.SearchStrategy[str]:
    letters = "".join(letter for letter in LETTERS if letter not in exclude)
    return st.text(letters, max_size=12).map(str.strip)


def grids(exclude: str = "") -> st.SearchStrategy[list[tuple[str, str, str]]]:
    code = st.text("0159AB-", min_size=1, max_size=6)
    return st.lists(st.tuples(code, cell(exclude), cell(exclude)), min_size=1, max_size=8)


@given(
    rows=grids(),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    banner=st.booleans(),
)
@settings(max_examples=150)
def test_a_table_written_as_csv_reads_back_equal(
    rows: list[tuple[str, str, str]], delimiter: str, encoding: str, newline: str, quote_all: bool, banner: bool
) -> None:
    grid: Sequence[Sequence[object]] = quickbooks(rows, HEADER) if banner else [HEADER, *rows]
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    table = read(as_csv(grid, delimiter=delimiter, encoding=encoding, newline=newline, quoting=quoting))
    assert table.header == HEADER
    assert cells(table) == rows


@given(rows=grids(), banner=st.booleans())
@settings(max_examples=40)
def test_a_table_written_as_xlsx_reads_back_equal(rows: list[tuple[str, str, str]], banner: bool) -> None:
    grid = quickbooks(rows, HEADER) if banner else [HEADER, *rows]
    table = read(as_xlsx({"Sheet1": grid}), "codes.xlsx")
    assert table.header == HEADER
    assert cells(table) == rows


def test_banner_and_footer_are_left_out_and_lines_keep_their_numbers() -> None:
    table = read(as_csv(quickbooks([*ROWS[:2], [], ("01-400", "Steel", "")], HEADER)))
    assert table.header_line == 5
    assert [row.number for row in table.rows] == [6, 7, 9]


def test_an_unquoted_footer_and_a_total_are_left_out() -> None:
    lines = ["Cost Code,Name", "01,Sitework", "TOTAL,", "Accrual basis Saturday, Nov 22, 2025 03:14 PM GMT"]
    assert cells(read("\n".join(lines).encode())) == [("01", "Sitework")]


@pytest.mark.parametrize(
    "footer",
    [
        "Saturday, Nov 22, 2025 03:14 PM GMT",
        "Saturday, November 22, 2025 03:14:07 PM GMT-08:00",
        "Thursday, Mar 02, 2017 09:54:12 PM GMT-8 - Accrual Basis",
        "Cash Basis  Saturday, 22 November 2025 15:14",
        "Accrual basis, Saturday, 11/22/2025",
        "Friday, May 1, 2026",
    ],
)
def test_the_moment_at_which_a_report_was_printed_is_left_out(footer: str) -> None:
    assert cells(read(f'Cost Code,Name\n01,Sitework\n"{footer}"\n'.encode())) == [("01", "Sitework")]
    assert cells(read(f"Cost Code,Name\n01,Sitework\n{footer}\n".encode())) == [("01", "Sitework")]


@pytest.mark.parametrize(
    "name",
    [
        "Friday Harbor Marina 2023",
        "Saturday Market Phase 2 2024",
        "Monday March 2024 Fit-out",
        "Sunday, May 3, 2026 Fair",
        "Friday Harbor, 12/2023",
    ],
)
def test_a_last_row_that_begins_with_a_weekday_is_kept(name: str) -> None:
    table = read(as_csv([("Name", "Cost Code"), ("Sitework", "01"), (name, "02")]))
    assert cells(table) == [("Sitework", "01"), (name, "02")]
    assert cells(read(as_csv([("Name", "Cost Code"), ("Sitework", "01"), (name,)])))[1:] == [(name, "")]


def test_a_quoted_newline_keeps_the_line_numbers_of_the_file() -> None:
    table = read(b'Cost Code,Name\n01,"two\nlines"\n02,next\n')
    assert [(row.number, row.cells) for row in table.rows] == [(2, ("01", "two\nlines")), (4, ("02", "next"))]


def test_short_rows_are_filled_and_long_ones_keep_what_is_beyond() -> None:
    table = read(b"Cost Code,Name,Division\n01\n02,b,c,d\n03,b,c,,,\n")
    assert cells(table) == [("01", "", ""), ("02", "b", "c", "d"), ("03", "b", "c")]


def test_headers_repeated_on_every_page_are_left_out() -> None:
    assert cells(read(b"Cost Code,Name\n01,a\nCost Code,Name\n02,b\n")) == [("01", "a"), ("02", "b")]


def test_excels_separator_line_names_the_delimiter() -> None:
    table = read(b"sep=;\r\nCost Code;Name\r\n01;a, b\r\n")
    assert (table.header_line, cells(table)) == (2, [("01", "a, b")])


def test_a_blank_after_the_delimiter_may_stand_before_a_quote() -> None:
    assert cells(read(b'Cost Code, Name\n01, "a, b"\n')) == [("01", "a, b")]


def test_a_quote_inside_an_unquoted_value_stays() -> None:
    assert cells(read(b'Cost Code,Name\n01,Pipe 2" PVC\n')) == [("01", 'Pipe 2" PVC')]


def test_a_quote_out_of_place_names_the_line() -> None:
    with pytest.raises(InvalidInputError, match=r"codes\.csv: line 3 .*every quote"):
        read(b'Cost Code,Name\n01,a\n02,"2x4" lumber\n')
    with pytest.raises(InvalidInputError, match=r"line 2 .*unexpected end of data"):
        read(b'Cost Code,Name\n01,"never closed\n02,b\n')


def test_the_best_header_is_chosen_not_the_first() -> None:
    table = read(b"Code,Name\nnot,this one\nCost Code,Name,Division,Active\n01,a,b,yes\n")
    assert table.header == ("Cost Code", "Name", "Division", "Active")


def test_without_a_header_the_widest_row_stands_in() -> None:
    assert read(b"List of things\nRef;Label;Where\n1;a;b\n").header in {
        ("Ref", "Label", "Where"),
        ("Ref;Label;Where",),
    }


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "codes.csv", "is empty"),
        (b" \r\n \n", "codes.csv", "is empty"),
        (b"\xef\xbb\xbf;;\n;;\n", "codes.csv", "only blank lines"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "codes.csv", "neither a spreadsheet nor readable text"),
        (b"%PDF-1.7\x01\x02\x03\x04" + bytes(range(1, 256)) * 20, "codes.pdf", "neither a spreadsheet"),
        (b"\xff\xfe\x00", "codes.csv", "neither a spreadsheet"),
        (b"\xef\xbb\xbfCost Code,Name\n01,Caf\xe9\n", "codes.csv", "neither a spreadsheet"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, name: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        read(content, name)


def test_a_file_beyond_the_limit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="64 MB that an import reads"):
        read(b"x" * (MAX_BYTES + 1))


def test_an_encoding_that_windows_1252_does_not_have_is_guessed() -> None:
    russian = "Код;Name\n01;" + "Электромонтажные работы и материалы для здания " * 20
    table = read_table(russian.encode("cp1251"), "codes.csv", lambda row: int("Name" in row))
    assert table.header[1] == "Name"
