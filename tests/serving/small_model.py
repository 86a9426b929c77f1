"""A small cost-code mapping that is fitted on invented companies and made champion."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from crewflow_assets import registration, registry
from crewflow_assets.cost_code_mapping.model import fit
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.cost_code_mapping.table import CompanyRecords, PastDecision, feature_table
from crewflow_assets.store.tables import Account, SourceItem

TRADES = ("Electrical", "Plumbing", "Concrete", "Framing", "Roofing", "Painting", "Drywall", "Excavation")
PHASES = ("Rough", "Finish", "Repair")
BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


def records(number: int) -> CompanyRecords:
    """Return a company that books by trade, and odd ones that book by phase."""
    company_id = f"small-{number}"
    names = TRADES if number % 3 else PHASES
    accounts = [
        Account(
            id=i,
            company_id=company_id,
            system="quickbooks",
            code=str(50000 + i),
            name=f"{name} costs",
            created_at=BEGAN,
        )
        for i, name in enumerate(names)
    ]
    items: dict[tuple[str, str], SourceItem] = {}
    decisions: list[PastDecision] = []
    for i, trade in enumerate(TRADES):
        for j, phase in enumerate(PHASES):
            code = f"{i}{j}-{number}"
            items["cost_code", code] = SourceItem(kind="cost_code", code=code, name=f"{phase} {trade.lower()} work")
            right = accounts[i if number % 3 else j].code
            decisions.append(
                PastDecision(
                    BEGAN + timedelta(hours=len(decisions)),
                    "cost_code",
                    "quickbooks",
                    code,
                    "accept",
                    right,
                    "person",
                )
            )
    return CompanyRecords(company_id, "general", items, accounts, decisions)


def register(seed: int) -> str:
    """Fit, register and promote; return the version's label."""
    table = feature_table([records(number) for number in range(1, 20)])
    predictor = fit(table, seed=seed)
    with TemporaryDirectory() as folder:
        predictor.save(Path(folder))
        version = registration.register(
            COST_CODE_MAPPING,
            Path(folder),
            registration.TrainingRecord(
                role="candidate",
                seed=seed,
                data_until=BEGAN + timedelta(days=400),
                feature_hash=f"small-{seed}",
                code_hash="test",
            ),
        )
    registry.promote(version, registry.CHAMPION)
    return version.label
