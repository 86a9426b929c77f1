"""The feature table: each first decision of a person, replayed with the history as it stood at that moment."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crewflow_assets.cost_code_mapping.features import FEATURES, Chart, History, Source, Target, candidate_features
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.store.tables import Account, SourceItem

DECIDED_BY_PEOPLE = ("person", "import")


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


def feature_table(companies: Iterator[CompanyRecords]) -> pd.DataFrame:
    """Return one row for each candidate of each query.

    Columns: query, company_id, industry, fold, kind, system, source_code, source_name, decided_at, n_history,
    candidate, candidate_name, label (1 for the account where the item stands at last), stood (whether the first
    decision was never corrected), then the features. Rows of one query stand together.
    """
    parts = [part for company in companies for part in _company_queries(company)]
    if not parts:
        return _empty()
    table = pd.concat(parts, ignore_index=True)
    return table.assign(query=pd.factorize(table["query"])[0])


def _empty() -> pd.DataFrame:
    columns = "query company_id industry fold kind system source_code source_name decided_at n_history candidate"
    return pd.DataFrame(columns=[*columns.split(), "candidate_name", "label", "stood", *FEATURES])


def _company_queries(company: CompanyRecords) -> Iterator[pd.DataFrame]:
    for system in sorted({decision.system for decision in company.decisions}):
        yield from _system_queries(company, system, [d for d in company.decisions if d.system == system])


def _system_queries(company: CompanyRecords, system: str, decisions: list[PastDecision]) -> Iterator[pd.DataFrame]:
    accounts = [account for account in company.accounts if account.system == system]
    if not accounts:
        return
    chart = Chart([target_of(account) for account in accounts])
    created = np.array([account.created_at for account in accounts])
    gone = np.array([account.deactivated_at or datetime.max.replace(tzinfo=UTC) for account in accounts])
    keys = [key for key in dict.fromkeys(d.item for d in decisions) if key in company.items]
    place = {key: row for row, key in enumerate(keys)}
    sources = [source_of(company.items[key], company.industry) for key in keys]
    everything = History.of(sources, [""] * len(sources), chart)
    final = {d.item: d.target_code for d in decisions}
    first = {d.item: d.target_code for d in reversed(decisions)}
    standing: NDArray[np.int64] = np.full(len(keys), -1, np.int64)
    decided = np.zeros(len(keys), bool)
    for decision in decisions:
        index = place.get(decision.item)
        if index is None:
            continue
        people = decision.method in DECIDED_BY_PEOPLE and decision.action != "undo"
        label = chart.position.get(final[decision.item] or "", -1)
        open_now = (created <= decision.at) & (gone > decision.at)
        if people and not decided[index] and label >= 0 and open_now[label]:
            rows = np.flatnonzero(decided & (standing >= 0))
            features = candidate_features(sources[index], chart, everything.only(rows, standing[rows]))[open_now]
            candidates = np.flatnonzero(open_now)
            yield pd.DataFrame(
                {
                    "query": f"{company.company_id}/{system}/{sources[index].kind}/{sources[index].code}",
                    "company_id": company.company_id,
                    "industry": company.industry,
                    "fold": fold_of(company.company_id),
                    "kind": sources[index].kind,
                    "system": system,
                    "source_code": sources[index].code,
                    "source_name": sources[index].name,
                    "decided_at": decision.at,
                    "n_history": len(rows),
                    "candidate": [accounts[i].code for i in candidates],
                    "candidate_name": [accounts[i].name for i in candidates],
                    "label": (candidates == label).astype(np.int8),
                    "stood": first[decision.item] == final[decision.item],
                }
                | {name: features[:, i] for i, name in enumerate(FEATURES)}
            )
        decided[index] = True
        standing[index] = chart.position.get(decision.target_code or "", -1)
