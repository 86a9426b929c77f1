"""What the tests of monitoring share: a toy model, its predictions in the log, and weeks of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlalchemy.orm import Session

from crewflow_assets.contract import PredictionRequest, PredictionResponse
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.monitoring.hook import Described, Logged, Monitored, Seen
from crewflow_assets.spec import ModelCode, ModelSpec
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Company, Prediction

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = timedelta(days=7)


class ToyOutcomes(Monitored):
    """Says a probability; what became of it stands in the log itself."""

    right_means = "it happened"
    outcome_words = "'right' or 'wrong'"

    def said(self, logged: Logged) -> float | None:
        return float(logged.output["said"])

    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:  # noqa: ARG002
        return {
            one.id: Seen(
                at=one.created_at,
                outcome="seen",
                actual=float(one.inputs["happened"]),
                right=bool(one.inputs["happened"]),
                basis="decided",
            )
            for one in logged
            if one.inputs.get("happened") is not None
        }

    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:  # noqa: ARG002
        return {"right": (1.0, True), "wrong": (0.0, False)}.get(outcome)

    def described(self, logged: Logged) -> Described:
        return {"size": logged.inputs["size"], "kind": logged.inputs["kind"]}


def _code() -> ModelCode:
    raise NotImplementedError("monitoring never loads a model")


TOY = ModelSpec(
    name="toy",
    question="Does it happen?",
    code=_code,
    request_type=PredictionRequest,
    response_type=PredictionResponse,
    example={},
    event_kinds=(),
    expectations=(),
    gates=(),
    headline=("right",),
    tolerance=0.01,
    retrain_cron="0 0 * * 0",
    monitored=ToyOutcomes,
    limits=("It is a toy.",),
)


def add_companies(names: Iterable[str]) -> None:
    with transaction() as session:
        session.add_all(Company(id=n, name=n, industry="roofing", created_at=MONDAY, revision=0) for n in names)


def row(prediction_id: str, model: str, at: datetime, **changes: Any) -> dict[str, Any]:
    """Return a row of the prediction log."""
    return {
        "id": prediction_id,
        "model": model,
        "model_version": "1.0",
        "variant": "champion",
        "company_id": "c-1",
        "inputs": {},
        "output": {},
        "withheld": False,
        "propensity": 0.0,
        "latency_ms": 1.0,
        "created_at": at,
    } | changes


def log(*rows: Mapping[str, Any]) -> None:
    with transaction() as session:
        session.execute(insert(Prediction), [dict(one) for one in rows])


def post(kind: str, payload: dict[str, Any], at: datetime, *, company: str = "c-1", handlers: Any = None) -> None:
    """Record an event with the handlers of its kind, or with none."""
    event = EventIn(
        event_id=f"{kind}-{company}-{at.isoformat()}-{hash(str(payload))}",
        kind=kind,
        company_id=company,
        occurred_at=at,
        payload=payload,
    )
    with transaction() as session:
        record_events(session, [event], handlers=handlers or {})


def toy_weeks(
    weeks: int, *, seed: int = 0, companies: int = 12, first: int = 0, size: float = 0.0, wrong: float = 0.0
) -> list[dict[str, Any]]:
    """Return weeks of toy predictions; ``size`` moves the requests, ``wrong`` what happens against what is said."""
    random = np.random.default_rng([seed, first])
    rows = []
    for week in range(first, first + weeks):
        for company in range(companies):
            for number in range(int(random.integers(5, 15))):
                said = float(random.uniform(0.2, 0.9))
                rows.append(
                    row(
                        f"p-{seed}-{week}-{company}-{number}",
                        "toy",
                        MONDAY + week * WEEK + timedelta(hours=number),
                        company_id=f"c-{company}",
                        inputs={
                            "size": float(random.normal(company % 3 + size, 1)),
                            "kind": str(random.choice(["a", "b", "c"])),
                            "happened": float(random.random() < said - wrong),
                        },
                        output={"said": said},
                    )
                )
    return rows
