"""Cost-code mapping as the platform sees it: features, fit, evaluation and answers behind one interface."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import pandas as pd
from sqlalchemy import select

from crewflow_assets.cost_code_mapping.answering import answer
from crewflow_assets.cost_code_mapping.contract import MappingRequest
from crewflow_assets.cost_code_mapping.evaluation import BASELINES, evaluate, replayed, score
from crewflow_assets.cost_code_mapping.model import MappingPredictor, fit
from crewflow_assets.cost_code_mapping.table import CompanyRecords, PastDecision, feature_table
from crewflow_assets.lake.events import read_events
from crewflow_assets.spec import Answer, Evaluation, ModelCode, Predictor
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Account, Company, SourceItem

COLUMNS = ("company_id", "occurred_at", "kind", "system", "source_code", "action", "target_code", "method")


class CostCodeMapping(ModelCode):
    """See ``ModelCode`` for what each method promises."""

    def build_features(self, cutoff: datetime) -> pd.DataFrame:
        """Replay every person's first decision on an item."""
        return feature_table(_companies(cutoff))

    def fit(self, features: pd.DataFrame, *, seed: int) -> MappingPredictor:
        """Fit the ranker, its confidence and its threshold."""
        return fit(features, seed=seed)

    def baselines(self, features: pd.DataFrame, *, seed: int) -> Mapping[str, MappingPredictor]:
        """Fit the baselines."""
        return {name: fit(features, seed=seed, using=using) for name, using in BASELINES.items()}

    def evaluate(
        self, predictor: Predictor, baselines: Mapping[str, Predictor], features: pd.DataFrame
    ) -> Evaluation:
        """Measure on the test companies."""
        named = {name: cast(MappingPredictor, baseline) for name, baseline in baselines.items()}
        return evaluate(cast(MappingPredictor, predictor), named, features)

    def row_scores(self, predictor: Predictor, features: pd.DataFrame) -> pd.DataFrame:
        """Score 1 where the first suggestion is right, clustered by company."""
        scored = score(cast(MappingPredictor, predictor), replayed(features))
        return pd.DataFrame({"cluster": scored.companies, "score": scored.first_right})

    def load(self, folder: Path) -> MappingPredictor:
        """Read a saved predictor."""
        return MappingPredictor.load(folder)

    def answer(self, predictor: Predictor, requests: Sequence[MappingRequest]) -> list[Answer]:
        """Answer requests in order."""
        return answer(cast(MappingPredictor, predictor), requests)


def _companies(cutoff: datetime) -> Iterator[CompanyRecords]:
    events = read_events("mapping_decision", before=cutoff)
    in_order = events.order_by(["company_id", "occurred_at", "received_at", "event_id"])  # ties must not be chance
    rows = in_order.select(*COLUMNS).to_pyarrow().to_pylist()
    decisions: dict[str, list[PastDecision]] = {}
    for row in rows:
        company_id = row.pop("company_id")
        decisions.setdefault(company_id, []).append(PastDecision(at=row.pop("occurred_at"), **row))
    with reading() as session:
        for company in session.scalars(select(Company).where(Company.id.in_(decisions)).order_by(Company.id)):
            items = session.scalars(select(SourceItem).where(SourceItem.company_id == company.id))
            accounts = session.scalars(select(Account).where(Account.company_id == company.id).order_by(Account.id))
            yield CompanyRecords(
                company_id=company.id,
                industry=company.industry,
                items={(item.kind, item.code): item for item in items},
                accounts=list(accounts),
                decisions=decisions[company.id],
            )
