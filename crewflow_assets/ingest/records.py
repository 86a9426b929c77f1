"""Bringing the stored accounts and source items of a company to what an import says, in bulk statements."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from crewflow_assets.ingest.columns import Kind
from crewflow_assets.ingest.rows import AccountRow, CostCodeRow, ProjectRow
from crewflow_assets.store import tables

EXAMPLES = 5
ITEM_KINDS = {"cost_codes": "cost_code", "projects": "project"}

CodedRow = AccountRow | CostCodeRow | ProjectRow


@dataclass(frozen=True, slots=True)
class Changes:
    """How many records an import touched: each row, and each record that no row names, is counted once.

    ``skipped`` rows say that a record is out of use that is not stored, or is out of use already.
    """

    inserted: int = 0
    updated: int = 0
    deactivated: int = 0
    reactivated: int = 0
    unchanged: int = 0
    skipped: int = 0
    warnings: tuple[str, ...] = ()


def synchronise(
    session: Session,
    kind: Kind,
    company_id: str,
    system: str | None,
    rows: Sequence[CodedRow],
    *,
    partial: bool,
    moment: datetime,
) -> Changes:
    """Bring the stored records of a company to ``rows``, whose codes differ.

    Accounts are those of one ``system``. A record that no row has in use is deactivated; if the import is
    ``partial``, only one that a row says is out of use.
    """
    wanted = {row.code: _values(row) for row in rows if row.active}
    retired = {row.code for row in rows if not row.active} - set(wanted)
    if kind == "accounts":
        scope = {"company_id": company_id, "system": str(system)}
        changes, gone = _sync(session, tables.Account, scope, wanted, retired, partial=partial, moment=moment)
        warnings = _still_mapped(session, company_id, str(system), gone)
        return replace(changes, warnings=changes.warnings + warnings)
    scope = {"company_id": company_id, "kind": ITEM_KINDS[kind]}
    return _sync(session, tables.SourceItem, scope, wanted, retired, partial=partial, moment=moment)[0]


def _values(row: CodedRow) -> dict[str, Any]:
    """Return the columns that a row sets, besides its key."""
    if isinstance(row, AccountRow):
        return {"name": row.name, "type": row.type, "parent": row.parent}
    return {
        "name": row.name,
        "description": row.description,
        "group_name": row.group,
        "project_type": row.project_type if isinstance(row, ProjectRow) else None,
    }


def _sync(
    session: Session,
    table: type[tables.Account] | type[tables.SourceItem],
    scope: Mapping[str, str],
    wanted: Mapping[str, dict[str, Any]],
    retired: set[str],
    *,
    partial: bool,
    moment: datetime,
) -> tuple[Changes, dict[str, str]]:
    """Write the differences; return their counts, and the names of the deactivated records by code."""
    query = select(*table.__table__.c).filter_by(**scope)
    stored = {row["code"]: row for row in session.execute(query).mappings()}
    active = {code for code, row in stored.items() if row["deactivated_at"] is None}

    new, changed = [], []
    updated = reactivated = 0
    for code, values in wanted.items():
        row = stored.get(code)
        if row is None:
            new.append({**scope, "code": code, **values, "created_at": moment, "deactivated_at": None})
        elif code not in active:
            reactivated += 1
            changed.append({"id": row["id"], **values, "deactivated_at": None})
        elif any(row[name] != value for name, value in values.items()):
            updated += 1
            changed.append({"id": row["id"], **values, "deactivated_at": None})
    gone = sorted(active & retired if partial else active - set(wanted))

    if new:
        session.execute(insert(table), new)
    if changed:
        session.execute(update(table), changed)
    if gone:
        session.execute(update(table), [{"id": stored[code]["id"], "deactivated_at": moment} for code in gone])

    warnings: tuple[str, ...] = ()
    if len(gone) > max(EXAMPLES, len(active) / 2):
        warnings = (
            f"{len(gone)} of {len(active)} records were deactivated because they are not in use in this import; if "
            "it was a part of the list, import the whole list, which brings them back, and parts with --partial",
        )
    changes = Changes(
        inserted=len(new),
        updated=updated,
        deactivated=len(gone),
        reactivated=reactivated,
        unchanged=len(wanted) - len(new) - len(changed),
        skipped=len(retired - set(gone)),
        warnings=warnings,
    )
    return changes, {code: stored[code]["name"] for code in gone}


def _still_mapped(session: Session, company_id: str, system: str, gone: Mapping[str, str]) -> tuple[str, ...]:
    """Warn of each deactivated account that items are mapped to."""
    if not gone:
        return ()
    mapping = tables.Mapping
    query = (
        select(mapping.target_code, mapping.source_code)
        .where(mapping.company_id == company_id, mapping.system == system, mapping.target_code.is_not(None))
        .order_by(mapping.source_code)
    )
    items: defaultdict[str, list[str]] = defaultdict(list)
    for target, source in session.execute(query):
        if target is not None and target in gone:
            items[target].append(source)
    return tuple(
        f"account {code!r} ({gone[code]}) was deactivated, and {len(sources)} mapped "
        f"{'item points' if len(sources) == 1 else 'items point'} to it: {', '.join(sources[:EXAMPLES])}"
        f"{', …' if len(sources) > EXAMPLES else ''}; map them to another account"
        for code, sources in sorted(items.items())
    )
