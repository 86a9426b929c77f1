"""Workbooks are read as a person sees them in Excel."""

import io
import zipfile
from datetime import datetime

import pytest
from openpyxl import Workbook

from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.columns import header_score
from crewflow_assets.ingest.tables import Table, read_table
from crewflow_assets.ingest.workbooks import OLE
from tests.ingest.exports import as_xlsx

LIST = [("Cost Code", "Name"), ("01", "Sitework")]


def read(content: bytes) -> Table:
    return read_table(content, "codes.xlsx", lambda cells: header_score(cells, "cost_codes"))


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (50100.0, "General", "50100"),
        (50100, "General", "50100"),
        ("00100", "General", "00100"),
        (100, "00000", "00100"),
        (1.1, "0.00", "1.10"),
        (1.1, "General", "1.1"),
        (13000, "00-0000", "01-3000"),
        (13000, '00"-"0000', "01-3000"),
        (12345678, "00-0000", "1234-5678"),
        (1234.0, "#,##0", "1234"),
        (-5, "00000", "-5"),
        (True, "General", "TRUE"),
        (datetime(2025, 3, 10), "mm-dd", "2025-03-10 00:00:00"),  # noqa: DTZ001 - Excel's dates have no timezone
    ],
)
def test_numbers_are_read_as_excel_shows_them(value: object, number_format: str, text: str) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["Cost Code", "Name"])
    sheet.append([value, "x"])
    sheet.cell(2, 1).number_format = number_format
    content = io.BytesIO()
    book.save(content)
    assert read(content.getvalue()).rows[0].cells == (text, "x")


def test_the_first_visible_sheet_with_a_header_is_read() -> None:
    notes = [("Please read", "me")]
    content = as_xlsx({"Notes": notes, "Old": [("Cost Code", "Name"), ("09", "old")], "Codes": LIST}, hidden=["Old"])
    table = read(content)
    assert (table.sheet, table.rows[0].cells) == ("Codes", ("01", "Sitework"))


def test_blank_rows_keep_the_row_numbers() -> None:
    table = read(as_xlsx({"Codes": [[], LIST[0], [], [None, None], LIST[1]]}))
    assert (table.header_line, table.rows[0].number) == (2, 5)


def test_a_workbook_without_rows_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no visible sheet with rows"):
        read(as_xlsx({"Empty": []}))


def test_a_sheet_whose_size_is_stated_wrongly_is_read_whole() -> None:
    content = as_xlsx({"Codes": LIST})
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(changed, "w") as target:
        for item in source.infolist():
            data = source.read(item)
            target.writestr(item, data.replace(b'<dimension ref="A1:B2"', b'<dimension ref="A1:A1"'))
    assert read(changed.getvalue()).rows[0].cells == ("01", "Sitework")


def damaged() -> list[bytes]:
    content = as_xlsx({"Codes": LIST})
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "no workbook")
    broken = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(broken, "w") as target:
        for item in source.infolist():
            data = source.read(item)
            target.writestr(item, data[:40] if item.filename.startswith("xl/worksheets/") else data)
    return [content[: len(content) // 2], content[:10], other.getvalue(), broken.getvalue()]


@pytest.mark.parametrize("content", damaged(), ids=["half", "start", "another zip", "broken sheet"])
def test_a_damaged_workbook_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"codes\.xlsx: the workbook cannot be read"):
        read(content)


def test_locked_and_old_workbooks_are_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidInputError, match="locked with a password; save it without one"):
        read(OLE + bytes(100) + "EncryptedPackage".encode("utf-16-le"))
    with pytest.raises(InvalidInputError, match="Excel 97-2003"):
        read(OLE + bytes(100))
