"""Small worlds for tests, written through ``ingest`` as real data is."""

import atexit
import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Literal

import pytest
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping.confidence import CONFIDENCE_INPUTS
from crewflow_assets.cost_code_mapping.learned import nothing_learned
from crewflow_assets.cost_code_mapping.model import ALL_FEATURES, MappingPredictor
from crewflow_assets.cost_code_mapping.posted import EVENT_HANDLERS
from crewflow_assets.evaluation.splits import Fold, fold_of
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import EventCounts, record_events
from crewflow_assets.ingest.files import import_rows
from crewflow_assets.ingest.rows import AccountRow, CostCodeRow, ProjectRow
from crewflow_assets.lake.events import stale_days, write_days
from crewflow_assets.settings import get_settings
from crewflow_assets.store import schema
from crewflow_assets.store.database import engine, reading, transaction

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
QUICKBOOKS = "quickbooks"

ACCOUNTS = [
    AccountRow(code="50100", name="Electrical Labor", type="Cost of Goods Sold", parent="Job Expenses"),
    AccountRow(code="50200", name="Electrical Materials", type="Cost of Goods Sold", parent="Job Expenses"),
    AccountRow(code="50300", name="Subcontractors", type="Cost of Goods Sold", parent="Job Expenses"),
    AccountRow(code="50400", name="Equipment Rental", type="Cost of Goods Sold", parent=None),
    AccountRow(code="61000", name="Office Supplies", type="Expense", parent=None),
    AccountRow(code="40100", name="Commercial Job Income", type="Income", parent=None),
    AccountRow(code="40200", name="Residential Job Income", type="Income", parent=None),
]
COST_CODES = [
    CostCodeRow(code="16-100.L", name="Rough Electrical Labor", description=None, group="16 Electrical"),
    CostCodeRow(code="16-100.M", name="Rough Electrical Matl", description="Wire, boxes", group="16 Electrical"),
    CostCodeRow(code="16-200.L", name="Finish Elec LBR", description=None, group="16 Electrical"),
    CostCodeRow(code="16-200.M", name="Finish Elec Mat'l", description=None, group="16 Electrical"),
    CostCodeRow(code="16-300.S", name="Fire alarm sub", description=None, group="16 Electrical"),
    CostCodeRow(code="01-500", name="Trencher rental", description=None, group="01 General"),
    CostCodeRow(code="01-510", name="TRENCHER - RENTAL", description="again", group="01 General"),
    CostCodeRow(code="01-900", name="Job site office", description=None, group=None),
]
PROJECTS = [
    ProjectRow(code="P-1", name="Mall of Springfield", group="Acme", project_type="commercial"),
    ProjectRow(code="P-2", name="Smith residence", group="Smith", project_type="residential"),
]

_ids = count(1)


def write_company(
    session: Session,
    company_id: str,
    *,
    accounts: Sequence[AccountRow] = ACCOUNTS,
    cost_codes: Sequence[CostCodeRow] = COST_CODES,
    projects: Sequence[ProjectRow] = PROJECTS,
    at: datetime = START,
) -> None:
    """Import a company's lists as of a moment."""
    with clock.fixed(at):
        import_rows(
            session, "accounts", company_id, QUICKBOOKS, accounts, company_name="Test Ltd", industry="electrical"
        )
        import_rows(session, "cost_codes", company_id, None, cost_codes)
        if projects:
            import_rows(session, "projects", company_id, None, projects)


def mapping_event(
    company_id: str, source_code: str, target_code: str | None, at: datetime, **payload: Any
) -> EventIn:
    """Return a mapping decision of a person as it is posted; ``payload`` changes its fields, ``event_id`` its id."""
    event_id = payload.pop("event_id", None) or f"event-{next(_ids)}"
    return EventIn(
        event_id=event_id,
        kind="mapping_decision",
        company_id=company_id,
        occurred_at=at,
        payload={
            "system": QUICKBOOKS,
            "source_code": source_code,
            "action": "undo" if target_code is None else "accept",
            "target_code": target_code,
            "decided_by": "dana",
        }
        | payload,
    )


def post(session: Session, *events: EventIn) -> EventCounts:
    """Record events as the HTTP route does."""
    return record_events(session, events, handlers=EVENT_HANDLERS)


def write_lake(kind: str = "mapping_decision") -> None:
    """Bring the lake up to date."""
    with reading() as session:
        write_days(session, kind, stale_days(session, kind))


def predictor(
    *, threshold: float | None = None, certainty: float = 0.0, person_stands: float = 0.97, **weights: float
) -> MappingPredictor:
    """Return a predictor with given weights, and a confidence that is the sigmoid of ``certainty``."""
    return MappingPredictor(
        weights=array([weights.get(name, 0.0) for name in ALL_FEATURES]),
        confidence_weights=array([certainty] + [0.0] * len(CONFIDENCE_INPUTS)),
        threshold=threshold,
        person_stands=person_stands,
        learned=nothing_learned(),
    )


def array(values: Iterable[float]) -> Any:
    """Return a numpy array; numpy is loaded here, since not every test needs it."""
    import numpy as np

    return np.array(list(values), np.float64)


TRADES = ("Electrical", "Plumbing", "Framing", "Roofing", "Concrete", "Drywall", "Painting", "Flooring")
TYPES = {"Labor": "LBR", "Materials": "Matl", "Subcontractors": "Sub", "Equipment": "Equip"}
TASKS = ("rough", "finish", "repair", "cleanup", "layout", "inspection")
OTHERS = ("Office Supplies", "Insurance", "Bank Fees", "Travel", "Utilities", "Rent")


def companies_of(fold: Fold, number: int) -> list[str]:
    """Return the first ids "c-1", "c-2" … that belong to a fold."""
    found: Iterator[str] = (f"c-{i}" for i in count(1) if fold_of(f"c-{i}") == fold)
    return [next(found) for _ in range(number)]


def write_world(*, train: int = 16, test: int = 6, codes: int = 32) -> None:
    """Write companies that map some cost types by trade and others as a whole; every chart has accounts for both.

    So names alone leave two candidates, history alone leaves many, and the two together one.
    """
    folds: tuple[tuple[Fold, int], ...] = (("train", train), ("test", test))
    for company_id in (name for fold, number in folds for name in companies_of(fold, number)):
        with transaction() as session:
            _write_mixed(session, company_id, codes)
    write_lake()


def _write_mixed(session: Session, company_id: str, codes: int) -> None:
    chance = random.Random(company_id)
    by_trade = {kind: chance.random() < 0.5 for kind in TYPES}
    accounts = [
        AccountRow(code=str(50000 + 10 * i), name=name, type=kind, parent=None)
        for i, (name, kind) in enumerate(
            [
                *((name, "Cost of Goods Sold") for name in (*TRADES, *TYPES)),
                *((name, "Expense") for name in OTHERS),
            ]
        )
    ]
    number = {account.name: account.code for account in accounts}
    chosen = chance.sample([(t, k, task) for t in TRADES for k in TYPES for task in TASKS], codes)
    rows, targets = [], []
    for i, (trade, kind, task) in enumerate(chosen):
        name = f"{trade} {task} {TYPES[kind]}"
        rows.append(CostCodeRow(code=f"{i:03d}", name=name, description=None, group=None))
        targets.append(str(number[trade if by_trade[kind] else kind]))
    write_company(session, company_id, accounts=accounts, cost_codes=rows, projects=())
    events = [
        mapping_event(
            company_id, row.code, target, START + timedelta(hours=1, minutes=i), event_id=f"{row.code}-first"
        )
        for i, (row, target) in enumerate(zip(rows, targets, strict=True))
    ]
    post(session, *events)


def correct_some(
    company_id: str, number: int, at: datetime, *, action: Literal["accept", "correct"] = "correct"
) -> None:
    """Let a person move the first codes of a company of ``write_world`` to its "Rent" account."""
    with clock.fixed(at + timedelta(minutes=30)), transaction() as session:
        post(
            session,
            *(
                mapping_event(
                    company_id, f"{i:03d}", "50170", at + timedelta(seconds=i), action=action, event_id=f"{at}-{i}"
                )
                for i in range(number)
            ),
        )


@cache
def _empty_registry() -> bytes:
    """Return MLflow's database after its first start, which takes seconds."""
    import mlflow

    with TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        mlflow.MlflowClient(f"sqlite:///{file}").search_registered_models()
        return file.read_bytes()


def start_registry() -> None:
    """Give the present home an empty model registry."""
    folder = get_settings().root / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mlflow.db").write_bytes(_empty_registry())


@cache
def _filled() -> Path:
    """Write the world of ``write_world`` into a home of its own, once for each process."""
    folder = Path(mkdtemp(prefix="crewflow-world-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREWFLOW_HOME", str(folder))
        patch.delenv("CREWFLOW_DATABASE_URL", raising=False)
        get_settings.cache_clear()
        schema.upgrade()
        write_world()
        engine().dispose()
    get_settings.cache_clear()
    return folder


@cache
def fitted() -> MappingPredictor:
    """Return a model fitted on the world of ``write_world``, once for each process."""
    from crewflow_assets.cost_code_mapping.lifecycle import CostCodeMapping

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREWFLOW_HOME", str(_filled()))
        patch.delenv("CREWFLOW_DATABASE_URL", raising=False)
        get_settings.cache_clear()
        code = CostCodeMapping()
        found = code.fit(code.build_features(START + timedelta(days=30)), seed=7)
        engine().dispose()
    get_settings.cache_clear()
    return found


def fill_home() -> None:
    """Copy a filled database and lake, and an empty model registry, into the present home."""
    shutil.copytree(_filled(), get_settings().root, dirs_exist_ok=True)
    start_registry()
