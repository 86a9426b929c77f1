"""The feature table: each first decision of a person, replayed with the history as it stood at that moment."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crewflow_assets.arrays import Bools, Ints, Singles
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.features import FEATURES, candidate_features
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.ledger import PERSON
from crewflow_assets.evaluation.splits import fold_of, uniform
from crewflow_assets.store.tables import Account, SourceItem

KEYS = (
    *("query", "company_id", "industry", "fold", "kind", "system", "source_code", "source_name", "decided_at"),
    *("variant", "share", "n_history", "candidate", "candidate_name", "candidate_text", "label", "stood"),
)

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5)

Item = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A decision of the past; ``target_code`` is None where a mapping was taken back."""

    at: datetime
    kind: str
    system: str
    source_code: str
    action: str
    target_code: str | None
    method: str

    @property
    def item(self) -> tuple[str, str]:
        """What was mapped."""
        return (self.kind, self.source_code)

    @property
    def of_a_person(self) -> bool:
        """Whether a person mapped it, other than by taking something back."""
        return self.method in PERSON and self.action != "undo"

    @property
    def automatic(self) -> bool:
        """Whether the platform mapped it by itself."""
        return self.method not in PERSON and self.action != "undo"


@dataclass(frozen=True, slots=True)
class CompanyRecords:
    """What the feature table needs of one company; decisions oldest first."""

    company_id: str
    industry: str
    items: dict[tuple[str, str], SourceItem]
    accounts: list[Account]
    decisions: list[PastDecision]


def source_of(item: SourceItem, industry: str) -> Source:
    """Return an item's text as the features read it."""
    return Source(item.kind, item.code, item.name, item.description, item.group_name, item.project_type, industry)


def target_of(account: Account) -> Target:
    """Return an account as the features read it."""
    return Target(account.code, account.name, account.type, account.parent)


def feature_table(companies: Iterable[CompanyRecords]) -> pd.DataFrame:
    """Return one row for each candidate of each query.

    Each decision is asked twice: ``variant`` "replay" with the whole history of its moment, "thinned" with a random
    ``share`` of it (one of SHARES), so that little history is learnt and measured as well as much.

    Columns: see KEYS; label is 1 for the account where people left the item, stood says whether the first decision
    was never corrected; then the features. Rows of one query stand together.
    """
    parts = [part for company in companies for part in _company_tables(company)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*KEYS, *FEATURES])


def _company_tables(company: CompanyRecords) -> Iterator[pd.DataFrame]:
    for system in sorted({decision.system for decision in company.decisions}):
        accounts = [account for account in company.accounts if account.system == system]
        decisions = [d for d in company.decisions if d.system == system and d.item in company.items]
        moments = list(_replay(company, accounts, decisions)) if accounts else []
        if moments:
            yield _table(company, system, accounts, moments)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A query as it stood: which accounts were open, which is right, and the candidates' features."""

    source: Source
    at: datetime
    stood: bool
    share: float | None
    n_history: int
    candidates: Ints
    label: int
    features: Singles

    @property
    def variant(self) -> str:
        """The ``variant`` column."""
        return "replay" if self.share is None else "thinned"


def _table(company: CompanyRecords, system: str, accounts: list[Account], moments: list[_Moment]) -> pd.DataFrame:
    lengths = [len(moment.candidates) for moment in moments]
    candidates = np.concatenate([moment.candidates for moment in moments])

    def each(values: list[Any]) -> NDArray[Any]:
        return np.repeat(np.array(values, dtype=object), lengths)

    frame = pd.DataFrame(
        {
            "query": each(
                [f"{company.company_id}/{system}/{m.source.kind}/{m.source.code}/{m.variant}" for m in moments]
            ),
            "company_id": company.company_id,
            "industry": company.industry,
            "fold": fold_of(company.company_id),
            "kind": each([m.source.kind for m in moments]),
            "system": system,
            "source_code": each([m.source.code for m in moments]),
            "source_name": each([m.source.name for m in moments]),
            "decided_at": pd.to_datetime(each([m.at for m in moments]), utc=True),
            "variant": each([m.variant for m in moments]),
            "share": np.repeat([1.0 if m.share is None else m.share for m in moments], lengths),
            "n_history": np.repeat([m.n_history for m in moments], lengths),
            "candidate": np.array([account.code for account in accounts], object)[candidates],
            "candidate_name": np.array([account.name for account in accounts], object)[candidates],
            "candidate_text": np.array([target_of(account).context for account in accounts], object)[candidates],
            "label": np.concatenate([(m.candidates == m.label).astype(np.int8) for m in moments]),
            "stood": np.repeat([m.stood for m in moments], lengths),
        }
    )
    features = np.concatenate([moment.features for moment in moments])
    return frame.assign(**{name: features[:, i] for i, name in enumerate(FEATURES)})


def _replay(company: CompanyRecords, accounts: list[Account], decisions: list[PastDecision]) -> Iterator[_Moment]:
    account_at = {account.code: row for row, account in enumerate(accounts)}
    charts = _OpenCharts(accounts)
    keys = list(dict.fromkeys(decision.item for decision in decisions))
    place = {key: row for row, key in enumerate(keys)}
    queries = prepare([source_of(company.items[key], company.industry) for key in keys])
    everything = History.of(queries, [None] * len(queries), Chart([]))
    final = _said_at_last(decisions)
    standing: Ints = np.full(len(keys), -1, np.int64)
    by_person: Bools = np.zeros(len(keys), bool)
    order: list[int] = []
    for at, group in groupby(decisions, key=attrgetter("at")):
        together = list(group)  # what was decided at one moment does not know of each other
        for decision in {d.item: d for d in reversed(together)}.values():
            index = place[decision.item]
            label = account_at.get(final.get(decision.item) or "", -1)
            candidates, chart, position = charts.at(at)
            if not decision.of_a_person or index in order or position[label] < 0:
                continue
            before = np.array([row for row in order if standing[row] >= 0], np.int64)
            share, drawn = _thinned(company.company_id, decision.item, [keys[row] for row in before])
            for kept, rows in ((None, before), (share, before[drawn])):
                history = everything.only(rows, position[standing[rows]])
                yield _Moment(
                    source=queries[index].source,
                    at=at,
                    stood=decision.target_code == final[decision.item],
                    share=kept,
                    n_history=int(history.usable(queries[index].source.kind).sum()),
                    candidates=candidates,
                    label=label,
                    features=candidate_features(queries[index], chart, history),
                )
        for decision in together:
            index = place[decision.item]
            if by_person[index] and standing[index] >= 0 and decision.automatic:
                continue
            if index in order:
                order.remove(index)
            order.append(index)
            standing[index] = account_at.get(decision.target_code or "", -1)
            by_person[index] = decision.method in PERSON


def _thinned(company_id: str, item: Item, before: list[Item]) -> tuple[float, Bools]:
    """Return the share that an item's thinned history keeps, and which of the items before it."""
    share = SHARES[int(uniform("share", company_id, *item) * len(SHARES))]
    return share, np.array([uniform("thin", company_id, *item, *other) < share for other in before], bool)


class _OpenCharts:
    """The charts of accounts as they were open at a moment, each prepared once."""

    def __init__(self, accounts: list[Account]) -> None:
        self._targets = [target_of(account) for account in accounts]
        self._created = np.array([account.created_at for account in accounts])
        self._gone = np.array([a.deactivated_at or datetime.max.replace(tzinfo=UTC) for a in accounts])
        self._kept: dict[bytes, tuple[Ints, Chart, Ints]] = {}

    def at(self, moment: datetime) -> tuple[Ints, Chart, Ints]:
        """Return the open accounts, their chart, and every account's position in it (-1 if not open, or for -1)."""
        is_open = (self._created <= moment) & (self._gone > moment)
        key = is_open.tobytes()
        if key not in self._kept:
            candidates = np.flatnonzero(is_open)
            position: Ints = np.full(len(self._targets) + 1, -1, np.int64)
            position[candidates] = np.arange(len(candidates))
            self._kept[key] = (candidates, Chart([self._targets[i] for i in candidates]), position)
        return self._kept[key]


def _said_at_last(decisions: list[PastDecision]) -> dict[tuple[str, str], str | None]:
    """Return where people left each item; what the platform decided by itself is no label."""
    said: dict[tuple[str, str], str | None] = {}
    for decision in decisions:
        if decision.method in PERSON:
            said[decision.item] = decision.target_code
        elif decision.action == "undo":
            said[decision.item] = None
    return said
