"""Reading a table out of a file as people export them: CSV in any usual dialect and encoding, or XLSX.

Above the header there may be banner lines, below the rows a footer; blank lines may stand anywhere. Cells come
back trimmed, as the text that the person who exported the file saw.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from charset_normalizer import from_bytes

from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.ingest.workbooks import is_workbook, read_sheets

MAX_BYTES = 64 * 1024 * 1024
HEADER_WITHIN = 50
DELIMITERS = ",;\t|"
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the first half of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
PRINTED_ON = re.compile(  # a whole date with its weekday, and nothing behind it but the time or the basis
    r"(?:(?:accrual|cash) basis,?\s+)?(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+"
    rf"(?:{MONTH}\s+\d\d?,?\s+(?:19|20)\d\d|\d\d?\.?\s+{MONTH},?\s+(?:19|20)\d\d|\d{{1,4}}([-/.])\d\d?\1\d{{2,4}})"
    r"(?:,?\s+(?:at\s+)?\d\d?[:.]\d\d\b.*|[\s,-]+(?:accrual|cash) basis.*)?",
    re.IGNORECASE,
)
TOTAL = re.compile(r"(?:grand )?totals?:?", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")

HeaderScore = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a file: the line or spreadsheet row where it begins, counted from 1, and its cells."""

    number: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A header and the rows under it; rows are as long as the header, or longer where a cell has no header."""

    header: tuple[str, ...]
    header_line: int
    rows: tuple[Line, ...]
    sheet: str | None = None


def check_size(size: int, name: str) -> None:
    """Refuse a file of more bytes than an import reads.

    Raises:
        InvalidInputError: it is too large.
    """
    if size > MAX_BYTES:
        raise InvalidInputError(
            f"{name}: {size // 2**20} MB is more than the {MAX_BYTES // 2**20} MB that an import reads; "
            "export this list alone"
        )


def read_table(content: bytes, name: str, score: HeaderScore) -> Table:
    """Read the table in a file's content.

    ``score`` says how much a row looks like the wanted header, 0 for not at all. The best of the first 50 rows is
    the header. Where none looks like one, the widest row stands in, so that its columns can be named to the user.

    Raises:
        InvalidInputError: the file is empty, too large, damaged, locked with a password, or holds no table.
    """
    check_size(len(content), name)
    if not content.strip():
        raise InvalidInputError(f"{name}: the file is empty; export the list again")
    if is_workbook(content, name):
        return _from_sheets(content, name, score)
    return _from_text(_decode(content, name), name, score)


def _from_sheets(content: bytes, name: str, score: HeaderScore) -> Table:
    first: Table | None = None
    for title, grid in read_sheets(content, name):
        lines = _lines(grid)
        head = list(islice(lines, HEADER_WITHIN))
        if _header_index(head, score) is not None:
            return _table(list(chain(head, lines)), score, title)
        if first is None and head:
            first = _table(head, score, title)
    if first is None:
        raise InvalidInputError(f"{name}: the workbook has no visible sheet with rows in it; export the list again")
    return first


def _from_text(text: str, name: str, score: HeaderScore) -> Table:
    """Read delimited text with the delimiter under which the widest header is recognised."""
    stated = SEPARATOR_LINE.match(text)
    if stated:
        text = "\n" + text[stated.end() :]
    best: tuple[tuple[bool, int, int], Table] | None = None
    failure: InvalidInputError | None = None
    for delimiter in stated.group(1) if stated else DELIMITERS:
        try:
            lines = list(_lines(_records(text, delimiter, name)))
        except InvalidInputError as error:
            failure = failure or error
            continue
        if not lines:
            raise InvalidInputError(f"{name}: the file has only blank lines; export the list again")
        table = _table(lines, score, None)
        width = sum(map(bool, table.header))
        overlong = sum(len(row.cells) > len(table.header) for row in table.rows)
        rank = (_header_index(lines, score) is not None, width, -overlong)
        if best is None or rank > best[0]:
            best = (rank, table)
    if best is not None and (best[0][0] or failure is None):
        return best[1]
    # A quote out of place makes the right delimiter unreadable: say so rather than blame the header.
    raise failure or AssertionError("no delimiter was tried")


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, Sequence[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = (
                f"cannot be read as delimited text ({error}); a value with a quote in it is written "
                '"2"" pipe", and every quote that opens a value must close it'
            )
            raise InvalidInputError(
                f"{name}: line {number} {message}", (FieldProblem(("row", number), message),)
            ) from error
        yield number, cells


def _lines(grid: Iterable[tuple[int, Sequence[str]]]) -> Iterator[Line]:
    """Trim the cells, drop blank cells at the end of a row and blank rows."""
    for number, raw in grid:
        cells = [cell.strip() for cell in raw]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield Line(number, tuple(cells))


def _header_index(lines: Sequence[Line], score: HeaderScore) -> int | None:
    scores = [score(line.cells) for line in lines[:HEADER_WITHIN]]
    best = max(scores, default=0)
    return scores.index(best) if best > 0 else None


def _table(lines: Sequence[Line], score: HeaderScore, sheet: str | None) -> Table:
    index = _header_index(lines, score)
    if index is None:
        widths = [sum(map(bool, line.cells)) for line in lines[:HEADER_WITHIN]]
        index = widths.index(max(widths))
    header = lines[index]
    body = list(lines[index + 1 :])
    while body and _is_footer(body[-1]):
        body.pop()
    width = len(header.cells)
    rows = tuple(
        Line(line.number, line.cells + ("",) * (width - len(line.cells)))
        for line in body
        if line.cells != header.cells  # reports repeat their header on every page
    )
    return Table(header.cells, header.number, rows, sheet)


def _is_footer(line: Line) -> bool:
    filled = [cell for cell in line.cells if cell]
    return bool(PRINTED_ON.fullmatch(" ".join(filled)) or TOTAL.fullmatch(filled[0]))


def _decode(content: bytes, name: str) -> str:
    """Decode text: by its byte order mark, else UTF-8, else UTF-16 by its zero bytes, else Windows-1252."""
    marked = next((encoding for mark, encoding in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    text: str | None = None
    if marked:
        text = _strictly(content, marked)
    elif b"\0" in content:
        sample = content[:4096]
        even, odd = (sample[start::2].count(0) / len(sample) for start in (0, 1))
        if max(even, odd) > 0.2:
            text = _strictly(content, "utf-16-le" if odd > even else "utf-16-be")
    else:
        text = _strictly(content, "utf-8")
        # On a few names charset-normalizer guesses Shift-JIS for Scandinavian letters, so Excel's own encoding
        # goes first and it is asked only about bytes that Windows-1252 does not have.
        text = _strictly(content, "cp1252") if text is None else text
        if text is None:
            guess = from_bytes(content).best()
            text = None if guess is None else str(guess)
    if text is None or len(CONTROL.findall(text)) > 0.01 * len(text) + 1:
        raise InvalidInputError(
            f"{name}: this is neither a spreadsheet nor readable text; save the list as XLSX or as CSV (UTF-8)"
        )
    return text.rstrip("\x1a")


def _strictly(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None
