"""Simulated companies for the mapping benchmarks: as the feature table reads them, and the predictor they train."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from crewflow_assets.arrays import AnyFloats
from crewflow_assets.cost_code_mapping.model import MappingPredictor, fit
from crewflow_assets.cost_code_mapping.table import CompanyRecords, PastDecision, feature_table
from crewflow_assets.store.tables import Account, SourceItem
from crewflow_assets.twin.records import Company
from crewflow_assets.twin.world import build_world

END = datetime(2026, 6, 30, tzinfo=UTC)
TRAINING_SEED, TEST_SEED = 101, 202


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What simulated companies teach.

    ``predictor``: the product's model.
    ``prior``: weights of the benchmark's ranker, those of headings last.
    """

    predictor: MappingPredictor
    prior: AnyFloats


def companies(seed: int, count: int) -> Iterator[Company]:
    """Yield the companies of a world; ids say the seed, so that two worlds never share one."""
    yield from build_world(seed=seed, companies=count, end=END)


def records_of(company: Company, company_id: str) -> CompanyRecords:
    """Return a company as if it had been imported on its first day and its people's decisions posted."""
    items = [
        SourceItem(
            kind="cost_code",
            code=code.code,
            name=code.name,
            description=code.description,
            group_name=code.group,
            project_type=code.project_type,
        )
        for code in company.cost_codes
    ] + [
        SourceItem(
            kind="project",
            code=project.code,
            name=project.name,
            description=None,
            group_name=project.customer,
            project_type=project.project_type,
        )
        for project in company.projects
    ]
    return CompanyRecords(
        company_id=company_id,
        industry=company.industry,
        items={(item.kind, item.code): item for item in items},
        accounts=[
            Account(
                system=company.system,
                code=account.key,
                name=account.name,
                type=account.type,
                parent=account.parent,
                created_at=company.onboarded_at,
                deactivated_at=None,
            )
            for account in company.chart
        ],
        decisions=[
            PastDecision(
                at=decision.at,
                kind=decision.kind,
                system=company.system,
                source_code=decision.source_code,
                action=decision.action,
                target_code=decision.target_key,
                method="person",
            )
            for decision in company.decisions
        ],
    )


def training_table(count: int, progress: Callable[[int], None] = lambda _done: None) -> pd.DataFrame:
    """Return the feature table of simulated companies, all of them for training."""
    parts = []
    for done, company in enumerate(companies(TRAINING_SEED, count), start=1):
        parts.append(feature_table([records_of(company, f"{TRAINING_SEED}/{company.id}")]))
        progress(done)
    return pd.concat(parts, ignore_index=True).assign(fold="train")


def fit_on_world(count: int, progress: Callable[[int], None] = lambda _done: None) -> MappingPredictor:
    """Fit the product's model on simulated companies alone."""
    return fit(training_table(count, progress), seed=0)
