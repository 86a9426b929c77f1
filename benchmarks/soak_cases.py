"""What the soak asks, and what the answer has to be: each version's own predictor says it beforehand."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.soak_home import Version
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Account, SourceItem
from crewflow_assets.store.tables import Mapping as MappingRow

CASES = 25
ACCOUNTS = 30
QUIET = "c-1"
"""The company of the checked conflicts: nothing is decided or reported there meanwhile."""
TOLERANCE = 2e-3
"""Rounded probabilities of a text that was encoded alone and beside others may differ in the last place."""
ASIDE = frozenset(("prediction_id", "model_version", "variant"))
NOON = datetime(2026, 3, 2, 14, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """A request of a model, with the right answer by version label; none where it depends on the moment."""

    model: str
    body: dict[str, Any]
    expected: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Item:
    """A cost code that one client corrects again and again, and where it stands by what was acknowledged."""

    company_id: str
    system: str
    code: str
    name: str
    accounts: Sequence[str]
    target: str | None = None


def cases(versions: Sequence[Version]) -> list[Case]:
    """Return the requests with their answers, computed by the predictors against the present database."""
    draw = random.Random(3)
    with reading() as session:
        bodies = {
            "cost_code_mapping": _mappings(session, draw),
            "sync_health": [_sync(draw, number) for number in range(CASES)],
            "conflict_resolution": [_conflict(draw, number) for number in range(CASES)],
        }
    found = []
    for name in dict.fromkeys(version.spec.name for version in versions):
        own = [version for version in versions if version.spec.name == name]
        spec = own[0].spec
        if name not in bodies:
            found.append(Case(name, dict(spec.example)))
            continue
        requests = [spec.request_type.model_validate(body) for body in bodies[name]]
        expected: list[dict[str, dict[str, Any]]] = [{} for _ in requests]
        for version in own:
            for answers, answer in zip(expected, spec.code().answer(version.predictor, requests), strict=True):
                whole = spec.response_type.model_validate({**answer.fields, **dict.fromkeys(ASIDE, "-")})
                answers[version.label] = json.loads(whole.model_dump_json())
        found += [Case(name, body, answers) for body, answers in zip(bodies[name], expected, strict=True)]
    return found


def items(count: int) -> list[Item]:
    """Return cost codes of several companies that are mapped already, with their charts."""
    found = []
    with reading() as session:
        firsts = (
            select(func.min(MappingRow.id))
            .where(MappingRow.kind == "cost_code", MappingRow.company_id != QUIET)
            .group_by(MappingRow.company_id)
            .order_by(MappingRow.company_id)
            .limit(count)
        )
        for row in session.scalars(select(MappingRow).where(MappingRow.id.in_(firsts))):
            chart = select(Account.code).where(Account.company_id == row.company_id, Account.system == row.system)
            accounts = session.scalars(chart.order_by(Account.id).limit(5)).all()
            name = session.scalars(
                select(SourceItem.name).where(
                    SourceItem.company_id == row.company_id,
                    SourceItem.kind == "cost_code",
                    SourceItem.code == row.source_code,
                )
            ).one()
            item = Item(row.company_id, row.system, row.source_code, name, accounts, row.target_code)
            found.append(item)
    return found


def differs(expected: Any, answered: Any) -> bool:
    """Whether an answer is another one than expected, apart from its ids and the last place of numbers."""
    if isinstance(expected, dict) and isinstance(answered, dict):
        names = (expected.keys() | answered.keys()) - ASIDE
        return any(differs(expected.get(name), answered.get(name)) for name in names)
    if isinstance(expected, list) and isinstance(answered, list):
        return len(expected) != len(answered) or any(map(differs, expected, answered))
    if isinstance(expected, float) and isinstance(answered, int | float):
        return abs(expected - answered) > TOLERANCE
    return bool(expected != answered)


def _mappings(session: Session, draw: random.Random) -> list[dict[str, Any]]:
    codes = session.scalars(
        select(SourceItem).where(SourceItem.kind == "cost_code").order_by(SourceItem.id).limit(40 * CASES)
    ).all()
    accounts = session.scalars(select(Account).order_by(Account.id).limit(20 * ACCOUNTS)).all()
    by_code = list({account.code: account for account in accounts}.values())
    return [
        {
            "crewflow_cost_code": item.code,
            "cost_code_name": item.name,
            "company_industry": "electrical",
            "target_system": "quickbooks",
            "target_accounts": [{"code": one.code, "name": one.name} for one in draw.sample(by_code, ACCOUNTS)],
        }
        for item in draw.sample(codes, CASES)
    ]


def _sync(draw: random.Random, number: int) -> dict[str, Any]:
    attempts = draw.randint(1, 96)
    return {
        "integration_id": f"soak-{number}",
        "features": {
            "sync_attempts_24h": attempts,
            "sync_failures_24h": draw.randint(0, attempts),
            "avg_latency_24h": draw.uniform(100, 5000),
            "rate_limit_hits_24h": draw.randint(0, 9),
            "network_latency": draw.uniform(5, 300),
            "api_status": draw.choice(["operational", "degraded", None]),
            "timestamp": NOON.isoformat(),
        },
    }


def _conflict(draw: random.Random, number: int) -> dict[str, Any]:
    return {
        "conflict_type": "hours_mismatch",
        "crewflow_value": 8.0,
        "external_value": round(draw.uniform(1, 7.75) * 4) / 4,
        "company_id": QUIET,
        "worker_id": f"w-{number}",
        "project_id": "p-4",
        "timecard_date": "2026-03-01",
        "crewflow_updated_at": "2026-03-01T21:00:00Z",
        "external_updated_at": "2026-03-01T17:00:00Z",
        "last_sync_timestamp": "2026-03-01T06:00:00Z",
    }
