"""Finding the item and the account that each row of a mappings file means."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.errors import FieldProblem
from crewflow_assets.ingest.rows import MappingRow, Placed
from crewflow_assets.ingest.suggestions import Suggestions
from crewflow_assets.store.tables import Account, SourceItem

WORDS = {"cost_code": "cost code", "project": "project"}

Link = tuple[Literal["cost_code", "project"], str, str]
Index = Mapping[str, set[str]]


@dataclass(frozen=True, slots=True)
class Unclear:
    """A text of a row that is no record's, or that several records have."""

    line: int
    column: str
    text: str
    what: str
    codes: frozenset[str]
    index: Index


def resolve(
    session: Session, company_id: str, system: str, rows: Sequence[Placed[MappingRow]], titles: Mapping[str, str]
) -> tuple[list[tuple[int, Link]], list[Unclear]]:
    """Return each row's line and (kind, source code, account code), and every text that is not one record's.

    An item is found by its code; an account by its code, its full or own name, or both together ("50110
    Materials"). Case makes no difference where one record alone matches; deactivated records are not found.
    """
    items = {kind: _items(session, company_id, kind) for kind in sorted({placed.row.kind for placed in rows})}
    accounts = _accounts(session, company_id, system)
    account_column = titles.get("account") or titles.get("account_name") or "target"
    links: list[tuple[int, Link]] = []
    unclear: list[Unclear] = []
    for placed in rows:
        row = placed.row
        sources = _find(row.source, items[row.kind])
        targets = _find(row.target, accounts)
        if len(sources) == 1 and len(targets) == 1:
            links.append((placed.line, (row.kind, min(sources), min(targets))))
        if len(sources) != 1:
            column, what = titles.get(row.kind, "source"), f"{WORDS[row.kind]} of company {company_id!r}"
            unclear.append(Unclear(placed.line, column, row.source, what, frozenset(sources), items[row.kind]))
        if len(targets) != 1:
            what = f"{system} account of company {company_id!r}"
            unclear.append(Unclear(placed.line, account_column, row.target, what, frozenset(targets), accounts))
    return links, unclear


def explain(unclear: Sequence[Unclear]) -> list[FieldProblem]:
    """Return the problem with each text, and what was probably meant; it takes seconds and needs no database."""
    suggest = Suggestions()
    return [FieldProblem(("row", one.line, one.column), _message(one, suggest)) for one in unclear]


def _items(session: Session, company_id: str, kind: str) -> Index:
    item = SourceItem
    codes = session.scalars(
        select(item.code).where(item.company_id == company_id, item.kind == kind, item.deactivated_at.is_(None))
    )
    return _index((code, (code,)) for code in codes)


def _accounts(session: Session, company_id: str, system: str) -> Index:
    query = select(Account.code, Account.name, Account.parent).where(
        Account.company_id == company_id, Account.system == system, Account.deactivated_at.is_(None)
    )
    return _index(
        (code, (code, name, f"{parent}:{name}" if parent else name, f"{code} {name}", f"{code} - {name}"))
        for code, name, parent in session.execute(query)
    )


def _index(records: Iterable[tuple[str, Iterable[str]]]) -> Index:
    """Index codes by what people write for them, as it stands and in small letters."""
    index: defaultdict[str, set[str]] = defaultdict(set)
    for code, writings in records:
        for writing in writings:
            index[writing].add(code)
            index[writing.casefold()].add(code)
    for code in {code for codes in index.values() for code in codes}:
        index[code] = {code}  # a code is itself, whatever else is called the same
    return dict(index)


def _find(text: str, index: Index) -> set[str]:
    return index.get(text) or index.get(text.casefold()) or set()


def _message(one: Unclear, suggest: Suggestions) -> str:
    if one.codes:
        return f"{one.text!r} may mean {', '.join(repr(code) for code in sorted(one.codes))}; write the code"
    said = f"{one.text!r} is no active {one.what}"
    if not one.index:
        return f"{said}, which has none; import those first"
    near = suggest.nearest(one.what, one.text, one.index)
    if near:
        return f"{said}; did you mean {min(one.index[near])!r}? Otherwise import the missing record first"
    return f"{said}; correct it, remove the row, or import the missing record first"
