"""Writing tables out as the files that people export."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Literal

from openpyxl import Workbook

Grid = Sequence[Sequence[object]]


def as_csv(
    rows: Grid,
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    newline: str = "\r\n",
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL,
) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerows(rows)
    return text.getvalue().encode(encoding)


def as_xlsx(sheets: Mapping[str, Grid], hidden: Sequence[str] = ()) -> bytes:
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
        if title in hidden:
            sheet.sheet_state = "hidden"
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def quickbooks(rows: Grid, header: Sequence[str] = ("Full name", "Type", "Detail type")) -> list[Sequence[object]]:
    """Put QuickBooks Online's banner above a list and its footer below."""
    banner = [["Hill & Sons Builders"], ["Account List"], ["November 22, 2025"], []]
    return [*banner, header, *rows, ["Saturday, Nov 22, 2025 03:14 PM GMT"]]
