"""Which column holds what: recognised by its usual names, or named by the user."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from crewflow_assets.errors import FieldProblem, InvalidInputError

Kind = Literal["cost_codes", "projects", "accounts", "mappings"]
KIND_NAMES: dict[Kind, str] = {
    "cost_codes": "cost code",
    "projects": "project",
    "accounts": "account",
    "mappings": "mapping",
}
ABBREVIATIONS = {
    "#": "number",
    "no": "number",
    "nr": "number",
    "num": "number",
    "nbr": "number",
    "acct": "account",
    "accnt": "account",
    "acc": "account",
    "desc": "description",
    "descr": "description",
    "qb": "quickbooks",
    "qbo": "quickbooks",
    "proj": "project",
    "cat": "category",
}


@dataclass(frozen=True, slots=True)
class Field:
    """Something a row says, and what people call its column: normalised, comma-separated, the surest name first.

    ``last_resort`` names are tried only after every field had its turn.
    """

    name: str
    meaning: str
    names: str
    last_resort: str = ""


ACTIVE = Field(
    "active",
    "whether the record is in use (yes/no, active/inactive)",
    "active, is active, active status, enabled, status, account status, job status, project status",
)
INACTIVE = Field("inactive", "whether the record is out of use (yes/no)", "inactive, is inactive, archived")

FIELDS: dict[Kind, tuple[Field, ...]] = {
    "accounts": (
        Field(
            "code",
            "the account's number",
            "account number, account code, nominal code, nominal number, nominal, nominal account, n c, "
            "gl account number, gl number, gl code, gl account code, ledger code, number, code, account id",
            "account, gl account",
        ),
        Field(
            "name",
            "the account's name, nested or not",
            "full name, full account name, account full name, fully qualified name, account name, name, "
            "nominal name, gl account name, account title, account description, account, gl account, "
            "ledger account, title",
            "description",
        ),
        Field("type", "the account's type", "account type, type, class, category, account category"),
        Field("detail", "the account's detail type", "detail type, account detail type, subtype, sub type"),
        Field(
            "parent",
            "the account it stands under",
            "parent account, parent, parent name, parent path, parent account name, parent account number, "
            "parent number, sub account of, subaccount of",
        ),
        Field("description", "a remark", "description, title"),
        ACTIVE,
        INACTIVE,
    ),
    "cost_codes": (
        Field(
            "code",
            "the cost code",
            "cost code, cost code number, costcode, code, cost code id, full cost code, job cost code, "
            "phase code, phase number, item code, item number, activity code, task code, number, phase, item, id",
        ),
        Field(
            "name",
            "the cost code's name",
            "cost code name, name, cost code description, cost code title, title, phase name, item name, "
            "short description, phase description, description",
        ),
        Field("description", "a longer text", "description, long description, notes, details, comments"),
        Field(
            "group",
            "what it is filed under",
            "division, division name, group, group name, category, cost code group, cost code category, section, "
            "trade, parent, phase, phase name, cost type, type",
        ),
        ACTIVE,
        INACTIVE,
    ),
    "projects": (
        Field(
            "code",
            "the project's number",
            "project number, job number, project code, job code, project id, job id, number, code",
            "project, job, id",
        ),
        Field(
            "name",
            "the project's name",
            "project name, job name, customer job, customer project, project full name, full name, name, "
            "project title, title, project description, job description, project, job",
            "description",
        ),
        Field(
            "customer",
            "whose project it is",
            "customer, customer name, customer full name, client, client name, owner, parent",
        ),
        Field("description", "a longer text", "description, long description, notes, scope"),
        Field(
            "project_type",
            "the kind of project",
            "project type, job type, type, sector, market sector, building type, category",
        ),
        ACTIVE,
        INACTIVE,
    ),
    "mappings": (
        Field(
            "cost_code",
            "the cost code that is mapped",
            "cost code, crewflow cost code, crewflow code, source code, source cost code, costcode, "
            "cost code number, code, source, phase, phase code, item",
        ),
        Field(
            "project",
            "the project that is mapped",
            "project, project number, project code, job, job number, job code, customer job, project name, job name",
        ),
        Field(
            "account",
            "the account's number or name",
            "account number, account code, quickbooks account number, quickbooks account code, quickbooks account, "
            "sage account number, sage account, xero account code, xero account, gl account number, gl account, "
            "gl code, nominal code, nominal account, target account, target code, target, account, mapped account, "
            "mapped to, maps to",
            "nominal, ledger account, number",
        ),
        Field(
            "account_name",
            "the account's name, where its number is empty",
            "account name, quickbooks account name, account full name, gl account name, target account name, "
            "target name, nominal name, full name",
        ),
    ),
}
NEEDED: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "accounts": (("name",),),
    "cost_codes": (("code",), ("name",)),
    "projects": (("name",),),
    "mappings": (("cost_code", "project"), ("account", "account_name")),
}


def normalise(header: str) -> str:
    """Reduce a column's title to lower-case words: "Accnt. #" and "Account No." are both "account number"."""
    folded = unicodedata.normalize("NFKC", header).casefold().replace("#", " # ").replace("a/c", "acct")
    words = re.sub(r"[^\w#]+|_", " ", folded).split()
    return " ".join(ABBREVIATIONS.get(word, word) for word in words)


def locate(header: Sequence[str], kind: Kind, given: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return the index of each field's column among those of a header; fields without a column are left out.

    Columns ``given`` as field → title go first; what the header lacks of them is left out as well.
    """
    free: dict[str, int] = {}
    for index, title in enumerate(header):
        if words := normalise(title):
            free.setdefault(words, index)
    found: dict[str, int] = {}
    for name, title in (given or {}).items():
        index = free.pop(normalise(title), -1)
        if index >= 0:
            found[name] = index
    for last in (False, True):
        for field in FIELDS[kind]:
            if field.name in found or field.name in (given or {}):
                continue
            usual = (field.last_resort if last else field.names).split(", ")
            known = next((name for name in usual if name in free), None)
            if known is not None:
                found[field.name] = free.pop(known)
    return found


def header_score(header: Sequence[str], kind: Kind, given: Mapping[str, str] | None = None) -> int:
    """Return how many columns of a row are recognised, 0 where the row lacks a needed one."""
    found = locate(header, kind, given)
    return 0 if _missing(found, kind) or set(given or ()) - set(found) else len(found)


def columns_of(
    header: Sequence[str], kind: Kind, given: Mapping[str, str] | None = None, *, place: str = "the header"
) -> dict[str, int]:
    """Return the index of each field's column, as ``locate``, where all that is needed is there.

    Raises:
        InvalidInputError: a needed column is missing, or a given one is unknown or not in the header.
    """
    check_given(kind, given)
    found = locate(header, kind, given)
    seen = ", ".join(f'"{title}"' for title in header if title) or "none"
    problems = [
        FieldProblem(("column", name), f'there is no column "{title}" in {place}; the columns are {seen}')
        for name, title in (given or {}).items()
        if name not in found
    ]
    meanings = {field.name: field for field in FIELDS[kind]}
    for choice in _missing(found, kind):
        field = meanings[choice[0]]
        usual = ", ".join(f'"{name}"' for name in field.names.split(", ")[:4])
        problems.append(
            FieldProblem(
                ("column", choice[0]),
                f"no column holds {' or '.join(meanings[name].meaning for name in choice)}: the columns of {place} "
                f'are {seen}. Say which one it is with --column {choice[0]}="…", or rename it ({usual})',
            )
        )
    if problems:
        raise InvalidInputError("; ".join(problem.msg for problem in problems), tuple(problems))
    return found


def check_given(kind: Kind, given: Mapping[str, str] | None) -> None:
    """Refuse columns given for fields that rows of this kind do not have.

    Raises:
        InvalidInputError: a field is unknown.
    """
    known = [field.name for field in FIELDS[kind]]
    unknown = [name for name in given or {} if name not in known]
    if unknown:
        problems = tuple(
            FieldProblem(
                ("column", name), f"{KIND_NAMES[kind]} rows have no field {name!r}; they have {', '.join(known)}"
            )
            for name in unknown
        )
        raise InvalidInputError("; ".join(problem.msg for problem in problems), problems)


def _missing(found: Mapping[str, int], kind: Kind) -> list[tuple[str, ...]]:
    return [choice for choice in NEEDED[kind] if not any(name in found for name in choice)]
