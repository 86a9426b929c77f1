"""The rows of an import as typed models, and how a table's cells become them."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.ingest.chart import ChartLine, levels_of, name_accounts
from crewflow_assets.ingest.columns import KIND_NAMES, Kind
from crewflow_assets.ingest.tables import Table

MAX_CODE = 100  # as crewflow_assets.contract has it: what comes in must also go out
MAX_NAME = 300
MAX_TEXT = 2000
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
SHEET_ERROR = re.compile(r"#(?:N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!)")
EXCEL_DATE = re.compile(
    r"\d{4}-\d\d-\d\d 00:00:00|\d{1,2}-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-\d\d"
)
EXCEL_POWER = re.compile(r"\d(?:\.\d+)?E\+\d+")
DELETED = re.compile(r"\s*\(deleted(?: \d+)?\)")  # as QuickBooks marks an account that is out of use
ONLY_NUMBER = re.compile(r"\d[\d.\-]*")
OFF = {"inactive", "not active", "no", "n", "false", "0", "closed", "archived", "disabled", "deleted", "completed"}
NOT_OFF = {"", "no", "n", "false", "0", "active"}  # in a column that asks whether the record is out of use


def clean(value: object) -> object:
    """Trim a text, make its blanks single and its letters composed (NFC); refuse what no name contains."""
    if not isinstance(value, str):
        return value
    text = " ".join(unicodedata.normalize("NFC", value.translate(INVISIBLE)).split())
    if not text.isprintable():
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cs"):
                raise ValueError(f"contains the control character U+{ord(character):04X}; remove it")
    if SHEET_ERROR.fullmatch(text):
        raise ValueError("is an error of the spreadsheet; correct the formula, or type the value")
    return text


def _optional(value: object) -> object:
    return clean(value) or None


def _code(value: object) -> object:
    text = clean(value)
    if isinstance(text, str) and EXCEL_DATE.fullmatch(text):
        raise ValueError(
            "looks like a date that Excel made of a code; format the column as Text and type the code again"
        )
    if isinstance(text, str) and EXCEL_POWER.fullmatch(text):
        raise ValueError("is a long number that Excel shortened; format the column as Text and export the list again")
    return text


Code = Annotated[Annotated[str, Field(min_length=1, max_length=MAX_CODE)], BeforeValidator(_code)]
AccountCode = Annotated[Annotated[str, Field(min_length=1, max_length=MAX_NAME)], BeforeValidator(_code)]
Name = Annotated[Annotated[str, Field(min_length=1, max_length=MAX_NAME)], BeforeValidator(clean)]
OptionalName = Annotated[Annotated[str, Field(max_length=MAX_NAME)] | None, BeforeValidator(_optional)]
OptionalText = Annotated[Annotated[str, Field(max_length=MAX_TEXT)] | None, BeforeValidator(_optional)]


class Row(BaseModel):
    """Base of the rows: immutable, unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AccountRow(Row):
    """An account: its number, or its full colon-nested name where the chart has no numbers, and its own name."""

    code: AccountCode
    name: Name
    type: OptionalName = None
    parent: OptionalName = None
    active: bool = True


class CostCodeRow(Row):
    """A cost code, and what it is filed under."""

    code: Code
    name: Name
    description: OptionalText = None
    group: OptionalName = None
    active: bool = True


class ProjectRow(Row):
    """A project: its number, or "Customer:Project" where it has none; ``group`` is the customer."""

    code: Code
    name: Name
    description: OptionalText = None
    group: OptionalName = None
    project_type: OptionalName = None
    active: bool = True


class MappingRow(Row):
    """A person's mapping: a cost code or project, and an account by its code or name."""

    kind: Literal["cost_code", "project"]
    source: Code
    target: Name


RowT = TypeVar("RowT", bound=Row, covariant=True)
ROW_TYPES: dict[Kind, type[Row]] = {
    "accounts": AccountRow,
    "cost_codes": CostCodeRow,
    "projects": ProjectRow,
    "mappings": MappingRow,
}


@dataclass(frozen=True, slots=True)
class Placed(Generic[RowT]):
    """A row and where it stood: the file's line or spreadsheet row, or the place in a list, from 1."""

    line: int
    row: RowT


def read_rows(
    table: Table, kind: Kind, columns: Mapping[str, int]
) -> tuple[list[Placed[Row]], list[FieldProblem], dict[str, str]]:
    """Turn a table's cells into rows.

    Returns the good rows, one problem for each bad value, and the column title of each field of the row model.
    """
    titles = {name: table.header[index] for name, index in columns.items()}
    values = [{name: line.cells[index] for name, index in columns.items()} for line in table.rows]
    built = _BUILD[kind](values, titles)
    model = ROW_TYPES[kind]
    placed: list[Placed[Row]] = []
    problems: list[FieldProblem] = []
    width = len(table.header)
    for line, fields in zip(table.rows, built, strict=True):
        beyond = [cell for cell in line.cells[width:] if cell]
        if beyond:
            problems.append(
                FieldProblem(
                    ("row", line.number),
                    f"{beyond[0][:80]!r} stands beyond the last column; the header has {width}. Put a value that "
                    "contains the delimiter in quotes, or give the column a title",
                )
            )
            continue
        try:
            placed.append(Placed(line.number, model.model_validate(fields)))
        except ValidationError as error:
            problems.extend(_problems(error, line.number, kind, titles))
    return placed, problems, titles


def _problems(error: ValidationError, line: int, kind: Kind, titles: Mapping[str, str]) -> list[FieldProblem]:
    found: dict[str, FieldProblem] = {}
    for detail in error.errors(include_url=False):
        field = str(detail["loc"][0]) if detail["loc"] else ""
        value = detail["input"]
        if detail["type"] == "string_too_short":
            message = f"is empty; every {KIND_NAMES[kind]} needs one: fill it in or remove the row"
        elif detail["type"] == "string_too_long":
            message = f"{value[:60] + '…'!r} has {len(value)} characters; shorten it to {detail['ctx']['max_length']}"
        elif detail["type"] == "literal_error":
            message = "names a project in a row that has a cost code; give each of the two a row of its own"
        else:
            message = f"{str(value)[:60]!r} {detail['msg'].removeprefix('Value error, ')}"
        title = _title(field, titles)
        found.setdefault(title, FieldProblem(("row", line, title), message))
    return list(found.values())


def _title(field: str, titles: Mapping[str, str]) -> str:
    """Return the title of the column that a model's field came from."""
    sources = {"code": ("code", "name"), "parent": ("parent", "name"), "group": ("group", "customer", "name")}
    sources |= {"source": ("cost_code", "project"), "target": ("account", "account_name"), "kind": ("project",)}
    return next((titles[name] for name in sources.get(field, (field,)) if name in titles), field)


def _active(value: Mapping[str, str]) -> bool:
    off = value.get("inactive", "").strip().casefold()
    return value.get("active", "").strip().casefold() not in OFF and off in NOT_OFF


def _swap_numbers(values: Sequence[dict[str, str]], titles: dict[str, str]) -> None:
    """Where the column taken for names holds only numbers, take the description for the name.

    Raises:
        InvalidInputError: there is no description.
    """
    names = [value["name"] for value in values if value["name"]]
    if "code" not in titles and names and all(map(ONLY_NUMBER.fullmatch, names)):
        if "description" not in titles:
            message = f'the column "{titles["name"]}" holds only numbers; name the one with names: --column name="…"'
            raise InvalidInputError(message, (FieldProblem(("column", "name"), message),))
        titles["code"], titles["name"] = titles["name"], titles.pop("description")
        for value in values:
            value["code"], value["name"] = value["name"], value.pop("description")


def _accounts(values: list[dict[str, str]], titles: dict[str, str]) -> list[dict[str, Any]]:
    _swap_numbers(values, titles)
    titles.pop("description", None)
    if "type" in titles:
        titles.pop("detail", None)
    lines = [
        ChartLine(value.get("code", ""), DELETED.sub("", value["name"]), value.get("parent", "")) for value in values
    ]
    return [
        {
            "code": account.code,
            "name": account.name,
            "parent": account.parent,
            "type": value.get("type") or value.get("detail"),
            "active": _active(value) and not DELETED.search(value["name"]),
        }
        for account, value in zip(name_accounts(lines), values, strict=True)
    ]


def _cost_codes(values: list[dict[str, str]], titles: dict[str, str]) -> list[dict[str, Any]]:  # noqa: ARG001
    return [
        {name: value.get(name, "") for name in ("code", "name", "description", "group")} | {"active": _active(value)}
        for value in values
    ]


def _projects(values: list[dict[str, str]], titles: dict[str, str]) -> list[dict[str, Any]]:
    _swap_numbers(values, titles)
    built: list[dict[str, Any]] = []
    for value in values:
        customer, levels = levels_of(value.get("customer", "")), levels_of(value["name"])
        path = levels if levels[: len(customer)] == customer else customer + levels
        built.append(
            {
                "code": value.get("code") or ":".join(path),
                "name": levels[-1] if levels else "",
                "description": value.get("description"),
                "group": ":".join(path[:-1]) if levels else None,
                "project_type": value.get("project_type"),
                "active": _active(value),
            }
        )
    return built


def _mapped_kind(value: Mapping[str, str]) -> str:
    if "cost_code" not in value or "project" not in value:
        return "cost_code" if "cost_code" in value else "project"
    if value["cost_code"] and value["project"]:
        return "both"
    return "project" if value["project"] else "cost_code"


def _mappings(values: list[dict[str, str]], titles: dict[str, str]) -> list[dict[str, Any]]:  # noqa: ARG001
    return [
        {
            "kind": _mapped_kind(value),
            "source": value.get("cost_code") or value.get("project", ""),
            "target": value.get("account") or value.get("account_name", ""),
        }
        for value in values
    ]


_BUILD: dict[Kind, Callable[[list[dict[str, str]], dict[str, str]], list[dict[str, Any]]]] = {
    "accounts": _accounts,
    "cost_codes": _cost_codes,
    "projects": _projects,
    "mappings": _mappings,
}
