"""An experiment on mappings in a database: companies, predictions by arm, and what people decided."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from crewflow_assets import clock
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.config import ExperimentConfig
from crewflow_assets.experiments.ledger import Assignment
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.experiment_tables import Experiment
from crewflow_assets.store.tables import AuditEntry, Company, Event, Prediction

BEGAN = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL = "cost_code_mapping"
VERSIONS = ("1.0", "1.1", "1.2")
RIGHT, WRONG = "50100", "61000"

Chance = Callable[[str], float]
"""How probably a person chooses the first suggestion, by the arm's name."""


def config(**changes: Any) -> ExperimentConfig:
    asked: dict[str, Any] = {
        "name": "mapping-model-v2",
        "model": MODEL,
        "variants": {
            "control": {"model_version": "1.0", "percentage": 50},
            "treatment": {"model_version": "1.1", "percentage": 50},
        },
        "metrics": ["mapping_accuracy", "user_acceptance_rate", "setup_time"],
        "duration_days": 30,
    }
    return ExperimentConfig.model_validate(asked | changes)


def start(at: datetime = BEGAN, **changes: Any) -> Assignment:
    """Start an experiment with the champion 1.0, and a salt of its name so that tests repeat."""
    with clock.fixed(at), transaction() as session:
        row = ledger.start(session, config(**changes), versions=VERSIONS, champion="1.0", by="dana")
        row.salt = row.name
    return ledger.assignment_of(row)


def stored(name: str = "mapping-model-v2") -> Experiment:
    with reading() as session:
        row = ledger.find(session, name)
        session.expunge(row)
    return row


def audits() -> list[AuditEntry]:
    with reading() as session:
        found = list(
            session.query(AuditEntry).filter(AuditEntry.subject_type == "experiment").order_by(AuditEntry.id)
        )
        session.expunge_all()
    return found


def add_companies(count: int) -> list[str]:
    names = [f"c-{number}" for number in range(count)]
    with transaction() as session:
        rows = [
            {"id": name, "name": name, "industry": "general", "created_at": BEGAN, "revision": 0} for name in names
        ]
        session.execute(insert(Company), rows)
    return names


def decide_day(
    assignment: Assignment,
    companies: list[str],
    at: datetime,
    chance: Chance,
    *,
    each: int = 4,
    minutes: Callable[[str], float] = lambda _: 10.0,
) -> None:
    """Let each company be suggested accounts for some codes, and a person accept or correct every one."""
    predictions: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for company in companies:
        arm = assignment.arm(company)
        luck = random.Random(f"{company} {at}")
        for number in range(each):
            code, made = f"{at:%m%d%H}-{number}", at + timedelta(seconds=number)
            key = f"p-{company}-{code}"
            right = luck.random() < chance(arm.name)
            predictions.append(_prediction(key, company, code, arm.name, arm.version, made))
            decided = made + timedelta(minutes=minutes(arm.name))
            events.append(_decision(key, company, code, right, decided))
    with transaction() as session:
        session.execute(insert(Prediction), predictions)
        session.execute(insert(Event), events)


def _prediction(key: str, company: str, code: str, variant: str, version: str, at: datetime) -> dict[str, Any]:
    suggestion = {"target_code": RIGHT, "target_name": "Labor", "confidence": 0.8, "reason": "", "auto_map": False}
    return {
        "id": key,
        "model": MODEL,
        "model_version": version,
        "variant": variant,
        "company_id": company,
        "inputs": {"crewflow_cost_code": code, "cost_code_name": "Work", "target_system": "quickbooks"},
        "output": {"suggestions": [suggestion], "method": "ask", "withheld": False},
        "withheld": False,
        "propensity": 0.0,
        "latency_ms": 1.0,
        "created_at": at,
    }


def _decision(key: str, company: str, code: str, right: bool, at: datetime) -> dict[str, Any]:
    payload = {
        "kind": "cost_code",
        "system": "quickbooks",
        "source_code": code,
        "action": "accept" if right else "correct",
        "target_code": RIGHT if right else WRONG,
        "suggested_code": RIGHT,
        "previous_code": None,
        "confidence": 0.8,
        "method": "person",
        "decided_by": "u-1",
        "prediction_id": key,
        "blind": False,
        "propensity": None,
    }
    return {
        "event_id": f"d-{key}",
        "kind": "mapping_decision",
        "company_id": company,
        "occurred_at": at,
        "received_at": at,
        "payload": payload,
    }
