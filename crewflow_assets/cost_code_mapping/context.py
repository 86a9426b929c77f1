"""What a company has in the store, prepared for predictions and kept until the company's revision changes."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock, Thread

import numpy as np
from sqlalchemy import Row, Select, bindparam, select

from crewflow_assets.arrays import Bools
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.text import spoken
from crewflow_assets.cost_code_mapping.turns import Turns
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
PREPARED_AT_ONCE = 2
"""Large charts, of stored ones and of sent ones: as many as may be lost on those who never come again."""
PATIENCE_SECONDS = 1.0
ENCODED_AT_ONCE = 4000
ContextKey = tuple[str, str, str]
"""Database URL, company, system."""
REVISION = select(Company.revision).where(Company.id == bindparam("company_id"))
"""Asked by every request; made once, it costs a third."""
SOURCE = (
    *(SourceItem.kind, SourceItem.code, SourceItem.name, SourceItem.description),
    *(SourceItem.group_name, SourceItem.project_type),
)
"""What a ``Source`` has but its industry, in its order; whole objects take two to four times as long to read."""


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


@dataclass(frozen=True, slots=True)
class _Preparation:
    """A chart that is or will be prepared; a large one has its turn for that."""

    chart: "Future[Chart]"
    turn: int | None


class Charts:
    """Charts, each prepared once, however many threads ask for it; those asked for last are kept.

    A large one is prepared beside the requests, which are told to come again: it takes up to minutes when its texts
    were never encoded. Few are prepared at a time, in the order in which they were first asked for. A large one is
    not let go of before it is handed out, or its turn ends because nobody comes again.
    """

    def __init__(self, most: int = KEPT_CHARTS) -> None:
        self._most = most
        self._charts: OrderedDict[tuple[Target, ...], _Preparation] = OrderedDict()
        self._turns = Turns(PREPARED_AT_ONCE)
        self._lock = Lock()

    def of(self, targets: tuple[Target, ...]) -> Chart:
        """Return the chart of accounts, prepared.

        Raises:
            InvalidInputError: two accounts have the same code.
            NotReadyError: it is large, and it or others are being prepared.
            RuntimeError: it is large, and there can be no more threads.
        """
        if targets not in self._charts:
            _refuse_ambiguous(targets)
        large = len(targets) > MOST_PREPARED_AT_ONCE
        with self._lock:
            found = self._charts.get(targets)
            begin = found is None
            if found is None:
                found = self._charts[targets] = self._begun(targets, large=large)
            self._charts.move_to_end(targets)
            self._let_go()
        if begin and large:
            self._prepare_beside(targets, found)
        elif begin:
            self._prepare(targets, found)
        if not wait([found.chart], PATIENCE_SECONDS if large else None).done:
            raise NotReadyError(
                f"the chart of {len(targets):,} accounts is being prepared, which takes up to some minutes the first "
                "time; send the request again"
            )
        with self._lock:
            self._turns.give_back(found.turn)
            if found.chart.exception() is not None and self._charts.get(targets) is found:
                del self._charts[targets]  # the next request tries again
        return found.chart.result()

    def _begun(self, targets: tuple[Target, ...], *, large: bool) -> _Preparation:
        turn = hash(targets) if large else None
        if large and not self._turns.take(turn):
            raise NotReadyError(
                f"the chart of {len(targets):,} accounts waits until others are prepared, which takes up to some "
                "minutes; send the request again"
            )
        return _Preparation(Future(), turn)

    def _let_go(self) -> None:
        """Let go of those asked for longest ago; not of one that is waited for, which would only begin anew."""
        rows = sum(map(len, self._charts))
        *others, _ = self._charts.items()
        for targets in [one for one, kept in others if kept.chart.done() and kept.turn not in self._turns]:
            if len(self._charts) <= self._most and rows <= KEPT_ROWS:
                return
            del self._charts[targets]
            rows -= len(targets)

    def _prepare_beside(self, targets: tuple[Target, ...], begun: _Preparation) -> None:
        try:
            Thread(target=self._prepare, args=(targets, begun), name="chart", daemon=True).start()
        except BaseException:  # there can be no more threads; nobody prepares it
            with self._lock:
                self._charts.pop(targets, None)
                self._turns.give_back(begun.turn)
            raise

    def _prepare(self, targets: tuple[Target, ...], begun: _Preparation) -> None:
        chart, error = None, None
        try:
            chart = Chart(targets)
        except BaseException as raised:  # noqa: BLE001  # goes to whoever asks
            error = raised
        if begun.turn is not None:
            with self._lock:
                self._turns.done(begun.turn)
        if error is not None:
            begun.chart.set_exception(error)
        elif chart is not None:
            begun.chart.set_result(chart)


def _refuse_ambiguous(targets: tuple[Target, ...]) -> None:
    code, times = Counter(target.code for target in targets).most_common(1)[0]
    if times > 1:
        problem = FieldProblem(("target_accounts",), f"account code {code!r} occurs {times} times; send each once")
        raise InvalidInputError("the candidates are ambiguous", (problem,))


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
        items = session.execute(select(*SOURCE).where(SourceItem.company_id == company_id)).all()
        mappings = session.execute(
            select(Mapping.kind, Mapping.source_code, Mapping.target_code, Mapping.method, Mapping.decided_by)
            .where(Mapping.company_id == company_id, Mapping.system == system, Mapping.target_code.is_not(None))
            .order_by(Mapping.decided_at, Mapping.id)
        ).all()
    known = {(item.kind, item.code): Source(*item, industry) for item in items}
    standing = {
        (kind, code): Standing(target_code or "", method or "person", decided_by)
        for kind, code, target_code, method, decided_by in mappings
        if (kind, code) in known
    }
    chart = STORED_CHARTS.of(accounts) if accounts else None
    queries = prepare([known[key] for key in standing])
    history = History.of(queries, [s.target_code for s in standing.values()], chart or Chart([]))
    return CompanyContext(chart, standing, known, history, {key: row for row, key in enumerate(standing)})
