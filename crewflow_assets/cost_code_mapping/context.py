"""What a company has in the store, prepared for predictions and kept until the company's revision changes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from crewflow_assets.cost_code_mapping.features import Chart, History, Source, Target, prepare
from crewflow_assets.cost_code_mapping.table import source_of
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Account, Company, Mapping, SourceItem

KEPT_COMPANIES = 256
KEPT_CHARTS = 32


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a mapped item stands, and who put it there."""

    target_code: str
    method: str
    decided_by: str


@dataclass(frozen=True, slots=True)
class CompanyContext:
    """A company's chart (None if none was imported) and its mapped items in one system, oldest first."""

    chart: Chart | None
    standing: dict[tuple[str, str], Standing]
    items: dict[tuple[str, str], Source]
    """Every known item, mapped or not."""
    _history: History
    _places: dict[tuple[str, str], int]
    """The row of each mapped item in the history."""

    def history_in(self, chart: Chart) -> History:
        """Return the mapped items, with their accounts' places in a chart (-1 if it has no such account)."""
        if chart is self.chart:
            return self._history
        codes = [standing.target_code for standing in self.standing.values()]
        return replace(self._history, positions=np.array([chart.position.get(code, -1) for code in codes], np.int64))

    def known_to(self, asked: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
        """Return what of the history the answers about items stand on, shape (items, history): all but themselves."""
        known = np.ones((len(asked), len(self._history)), bool)
        for row, key in enumerate(asked):
            if key in self._places:
                known[row, self._places[key]] = False
        return known


@lru_cache(maxsize=1)
def _nothing_known() -> CompanyContext:
    return CompanyContext(None, {}, {}, History.of([], [], Chart([])), {})


def company_context(company_id: str | None, system: str) -> CompanyContext:
    """Return what is known of a company as of now; an unknown company has nothing."""
    if company_id is None:
        return _nothing_known()
    with reading() as session:
        revision = session.scalar(select(Company.revision).where(Company.id == company_id))
    if revision is None:
        return _nothing_known()
    return _context(get_settings().sqlalchemy_url, company_id, system, revision)


@lru_cache(maxsize=KEPT_CHARTS)
def chart_of(targets: tuple[Target, ...]) -> Chart:
    """Return the chart prepared, kept for the next request or revision with the same accounts.

    Raises:
        InvalidInputError: two accounts have the same code.
    """
    code, times = Counter(target.code for target in targets).most_common(1)[0]
    if times > 1:
        raise InvalidInputError(
            "the candidates are ambiguous",
            (FieldProblem(("target_accounts",), f"account code {code!r} occurs {times} times; send each once"),),
        )
    return Chart(targets)


@lru_cache(maxsize=KEPT_COMPANIES)
def _context(_url: str, company_id: str, system: str, _revision: int) -> CompanyContext:
    with reading() as session:
        industry = session.scalars(select(Company.industry).where(Company.id == company_id)).one()
        accounts = session.execute(
            select(Account.code, Account.name, Account.type, Account.parent)
            .where(Account.company_id == company_id, Account.system == system, Account.deactivated_at.is_(None))
            .order_by(Account.id)
        ).all()
        items = session.scalars(select(SourceItem).where(SourceItem.company_id == company_id)).all()
        mappings = session.scalars(
            select(Mapping)
            .where(Mapping.company_id == company_id, Mapping.system == system, Mapping.target_code.is_not(None))
            .order_by(Mapping.decided_at, Mapping.id)
        ).all()
    by_key = {(item.kind, item.code): item for item in items}
    standing = {
        (m.kind, m.source_code): Standing(m.target_code or "", m.method or "person", m.decided_by)
        for m in mappings
        if (m.kind, m.source_code) in by_key
    }
    chart = chart_of(tuple(Target(*account) for account in accounts)) if accounts else None
    known = {key: source_of(item, industry) for key, item in by_key.items()}
    queries = prepare([known[key] for key in standing])
    history = History.of(queries, [s.target_code for s in standing.values()], chart or Chart([]))
    return CompanyContext(chart, standing, known, history, {key: row for row, key in enumerate(standing)})
