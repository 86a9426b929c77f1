"""What a company has in the store, prepared for predictions and kept until the company's revision changes."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock, Thread

import numpy as np
from sqlalchemy import Row, Select, bindparam, select

from crewflow_assets.arrays import Bools
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.table import source_of
from crewflow_assets.cost_code_mapping.text import spoken
from crewflow_assets.encoder import encoder
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotReadyError
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import connected, reading
from crewflow_assets.store.tables import Account, Company, Mapping, SourceItem

KEPT_COMPANIES = 256
KEPT_CHARTS = 32
KEPT_ROWS = 200_000
"""Of kept companies together, and of kept charts together: items and accounts (docs/soak.md)."""
MOST_PREPARED_AT_ONCE = 2000
"""Accounts of a chart that a request may wait for: about ten seconds when no text of it was ever encoded."""
PATIENCE_SECONDS = 1.0
ENCODED_AT_ONCE = 4000
ContextKey = tuple[str, str, str]
"""Database URL, company, system."""
REVISION = select(Company.revision).where(Company.id == bindparam("company_id"))
"""Asked by every request; made once, it costs a third."""


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

    @property
    def rows(self) -> int:
        """How many items and accounts it holds."""
        return len(self.items) + (0 if self.chart is None else len(self.chart.targets))

    def history_in(self, chart: Chart) -> History:
        """Return the mapped items, with their accounts' places in a chart (-1 if it has no such account)."""
        if chart is self.chart:
            return self._history
        codes = [standing.target_code for standing in self.standing.values()]
        return replace(self._history, positions=np.array([chart.position.get(code, -1) for code in codes], np.int64))

    def known_to(self, asked: Sequence[tuple[str, str]]) -> Bools:
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
    with connected() as connection:
        revision = connection.scalar(REVISION, {"company_id": company_id})
    if revision is None:
        return _nothing_known()
    return CONTEXTS.of((get_settings().sqlalchemy_url, company_id, system), revision)


class Contexts:
    """The contexts of the companies asked about last, each of one revision: each decision begins another."""

    def __init__(self, most: int = KEPT_COMPANIES) -> None:
        self._most = most
        self._kept: OrderedDict[ContextKey, tuple[int, CompanyContext]] = OrderedDict()
        self._lock = Lock()

    def of(self, key: ContextKey, revision: int) -> CompanyContext:
        """Return a company's context, read anew unless it is kept of this revision."""
        with self._lock:
            known, context = self._kept.get(key, (None, None))
            if context is not None and known == revision:
                self._kept.move_to_end(key)
                return context
        context = _context(*key)
        with self._lock:
            self._kept[key] = revision, context
            self._kept.move_to_end(key)
            rows = sum(one.rows for _, one in self._kept.values())
            while len(self._kept) > 1 and (len(self._kept) > self._most or rows > KEPT_ROWS):
                rows -= self._kept.popitem(last=False)[1][1].rows
        return context


class Charts:
    """Charts, each prepared once, however many threads ask for it; those asked for last are kept.

    A large one is prepared beside the requests, which are told to come again: it takes up to minutes when its texts
    were never encoded.
    """

    def __init__(self, most: int = KEPT_CHARTS) -> None:
        self._most = most
        self._charts: OrderedDict[tuple[Target, ...], Future[Chart]] = OrderedDict()
        self._lock = Lock()

    def of(self, targets: tuple[Target, ...]) -> Chart:
        """Return the chart of accounts, prepared.

        Raises:
            InvalidInputError: two accounts have the same code.
            NotReadyError: it is large and being prepared.
        """
        with self._lock:
            chart = self._charts.get(targets)
            begin = chart is None
            if chart is None:
                chart = self._charts[targets] = Future()
            self._charts.move_to_end(targets)
            self._let_go()
        large = len(targets) > MOST_PREPARED_AT_ONCE
        if begin and large:
            Thread(target=self._prepare, args=(targets, chart), name="chart", daemon=True).start()
        elif begin:
            self._prepare(targets, chart)
        try:
            return chart.result(PATIENCE_SECONDS if large else None)
        except TimeoutError as error:
            raise NotReadyError(
                f"the chart of {len(targets):,} accounts is being prepared, which takes up to some minutes the first "
                "time; send the request again"
            ) from error

    def _let_go(self) -> None:
        """Let go of those asked for longest ago; not of one that is being prepared, which would only begin anew."""
        rows = sum(map(len, self._charts))
        *others, _ = self._charts.items()
        for targets in [one for one, chart in others if chart.done()]:
            if len(self._charts) <= self._most and rows <= KEPT_ROWS:
                return
            del self._charts[targets]
            rows -= len(targets)

    def _prepare(self, targets: tuple[Target, ...], chart: "Future[Chart]") -> None:
        try:
            code, times = Counter(target.code for target in targets).most_common(1)[0]
            if times > 1:
                raise InvalidInputError(
                    "the candidates are ambiguous",
                    (
                        FieldProblem(
                            ("target_accounts",), f"account code {code!r} occurs {times} times; send each once"
                        ),
                    ),
                )
            chart.set_result(Chart(targets))
        except BaseException as error:  # noqa: BLE001  # goes to whoever asked
            with self._lock:
                if self._charts.get(targets) is chart:
                    del self._charts[targets]  # the next request tries again
            chart.set_exception(error)


STORED_CHARTS, SENT_CHARTS = Charts(), Charts()
"""Apart, so that charts sent with requests displace none of a company's own."""
CONTEXTS = Contexts()


def encode_chart(company_id: str, system: str) -> Iterator[tuple[int, int]]:
    """Encode the texts of a company's stored chart, if it is large; yields how many of how many are done."""
    with connected() as connection:
        targets = _targets(connection.execute(_accounts(company_id, system)))
    if len(targets) > MOST_PREPARED_AT_ONCE:
        texts = list(dict.fromkeys(spoken(text) for t in targets for text in (t.name, t.context)))
        for start in range(0, len(texts), ENCODED_AT_ONCE):
            yield start, len(texts)
            encoder().encode(texts[start : start + ENCODED_AT_ONCE])
        yield len(texts), len(texts)


def _accounts(company_id: str, system: str) -> Select[str, str, str | None, str | None]:
    return (
        select(Account.code, Account.name, Account.type, Account.parent)
        .where(Account.company_id == company_id, Account.system == system, Account.deactivated_at.is_(None))
        .order_by(Account.id)
    )


def _targets(rows: Iterable[Row[str, str, str | None, str | None]]) -> tuple[Target, ...]:
    return tuple(Target(code, name, type_, parent) for code, name, type_, parent in rows)


def _context(_url: str, company_id: str, system: str) -> CompanyContext:
    with reading() as session:
        industry = session.scalars(select(Company.industry).where(Company.id == company_id)).one()
        accounts = _targets(session.execute(_accounts(company_id, system)))
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
    chart = STORED_CHARTS.of(accounts) if accounts else None
    known = {key: source_of(item, industry) for key, item in by_key.items()}
    queries = prepare([known[key] for key in standing])
    history = History.of(queries, [s.target_code for s in standing.values()], chart or Chart([]))
    return CompanyContext(chart, standing, known, history, {key: row for row, key in enumerate(standing)})
