"""Reading the sheets of an XLSX workbook as the text that a person sees in Excel."""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

from openpyxl import load_workbook

from crewflow_assets.errors import InvalidInputError

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
PADDED = re.compile(r"(0+)(?:\.(0+))?")
GROUPED = re.compile(r"0+(?:[-. /]0+)+")


def is_workbook(content: bytes, name: str) -> bool:
    """Say whether a file's content is an XLSX workbook.

    Raises:
        InvalidInputError: it is a locked workbook or one of Excel 97-2003.
    """
    if content.startswith(OLE):
        if ENCRYPTED in content:
            raise InvalidInputError(
                f"{name}: the workbook is locked with a password; save it without one (File > Info > Protect)"
            )
        raise InvalidInputError(
            f"{name}: this is a workbook of Excel 97-2003 or an Office document; save the list as XLSX or CSV"
        )
    return content.startswith(ZIP)


def read_sheets(content: bytes, name: str) -> Iterator[tuple[str, Iterator[tuple[int, Sequence[str]]]]]:
    """Yield the title of each visible sheet with its rows: the row number from 1, and the cells as text.

    Raises:
        InvalidInputError: the file is damaged, or is no workbook.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise ValueError(f"it unpacks to {unpacked // 2**20} MB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing styles and unknown extensions, which no name depends on
            book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except Exception as error:  # openpyxl lets whatever a damaged part causes through
        raise _damaged(name, error) from error
    try:
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                yield sheet.title, _rows(sheet, name)
    finally:
        book.close()


def _rows(sheet: Any, name: str) -> Iterator[tuple[int, Sequence[str]]]:
    try:
        sheet.reset_dimensions()  # some exporters write a wrong size, and openpyxl would believe it
        for number, cells in enumerate(sheet.iter_rows(), start=1):
            yield number, [_shown(cell) for cell in cells]
    except Exception as error:  # as above
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{name}: the workbook cannot be read ({error}); open it in Excel, save it as XLSX or CSV, and import that"
    )


def _shown(cell: Any) -> str:
    """Return a cell's text as Excel shows it: 50100.0 is 50100, and 1.1 under the format 0.00 is 1.10."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, cell.number_format or "General")
    if isinstance(value, datetime | date | time):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return str(value)


def _number(value: float, number_format: str) -> str:
    whole = float(value).is_integer()
    shape = number_format.split(";")[0].replace("\\", "").replace('"', "")
    padded = PADDED.fullmatch(shape)
    if padded and value >= 0:
        decimals = len(padded[2] or "")
        return f"{value:0{len(padded[1]) + decimals + bool(decimals)}.{decimals}f}"
    if whole and value >= 0 and GROUPED.fullmatch(shape):
        digits = list(str(int(value)).zfill(shape.count("0")))
        extra = digits[: len(digits) - shape.count("0")]
        rest = iter(digits[len(extra) :])
        return "".join(extra) + "".join(next(rest) if mark == "0" else mark for mark in shape)
    return str(int(value)) if whole else repr(float(value))
