"""Answering sync health requests, many at a time: one query describes them all, one pass of the model scores them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from crewflow_assets import clock
from crewflow_assets.arrays import Singles
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import reading
from crewflow_assets.sync_health.contract import AT_RISK, SyncHealthRequest
from crewflow_assets.sync_health.explaining import risk_factors
from crewflow_assets.sync_health.features import Described, columns_of, feature_rows, given_rows
from crewflow_assets.sync_health.integrations import FRESHNESS_MINUTES, Key, integrations_of
from crewflow_assets.sync_health.ledger import situations_of
from crewflow_assets.sync_health.limits import forecast
from crewflow_assets.sync_health.model import FailureModel, SyncHealthPredictor
from crewflow_assets.sync_health.online import USUAL_INTERVAL, online_of
from crewflow_assets.sync_health.policy import Risk, Situation, recommended
from crewflow_assets.sync_health.recent import recent

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 200
"""So many integrations are described sooner from what is kept in memory than by a query, which has to be planned."""
EXPLAINED_FROM = 0.05
"""Below this probability there is nothing to explain, and the watch asks about ten thousand at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Assessed:
    """Risks of requests, in order, with the minutes until the next sync."""

    risks: list[Risk]
    horizons: list[float]


def answer(predictor: SyncHealthPredictor, requests: Sequence[SyncHealthRequest]) -> list[Answer]:
    """Answer requests in order.

    Raises:
        InvalidInputError: an integration is unknown and the request carries no features.
    """
    at = clock.now()
    stored = [place for place, request in enumerate(requests) if request.features is None]
    given = [place for place, request in enumerate(requests) if request.features is not None]
    found: dict[int, tuple[Risk, float, Situation]] = {}
    if stored:
        keys = [(requests[place].company_id or "", requests[place].integration_id) for place in stored]
        situations = _situations(keys, stored, requests, at)
        assessed = assess(predictor, keys, at)
        found |= {
            place: (risk, horizon, situations[key])
            for place, key, risk, horizon in zip(stored, keys, assessed.risks, assessed.horizons, strict=True)
        }
    if given:
        rows = given_rows([features for place in given if (features := requests[place].features) is not None])
        for place, risk in zip(given, _risks(predictor.given, rows, None), strict=True):
            found[place] = (risk, USUAL_INTERVAL, _unknown_situation(at))
    return [Answer(_fields(*found[place], at)) for place in range(len(requests))]


def assess(predictor: SyncHealthPredictor, keys: Sequence[Key], at: datetime) -> Assessed:
    """Score the next sync of integrations, by company and id, from what happened before a moment."""
    history = recent()
    history.refresh(at)
    if len(set(keys)) <= FEW:
        return _assessed(predictor, online_of(history).described(keys, at), at)
    with history.cursor(at) as cursor:
        described = history.described(cursor, due_table(cursor, keys, at), at)
    asked = zip(described["company_id"].to_pylist(), described["integration_id"].to_pylist(), strict=True)
    order = {key: place for place, key in enumerate(asked)}
    columns = columns_of(described.take([order[key] for key in keys]))
    return _assessed(predictor, columns, at)


def _assessed(predictor: SyncHealthPredictor, columns: Described, at: datetime) -> Assessed:
    risks = _risks(predictor.full, feature_rows(columns), columns)
    horizons = (columns["micros"] - at.timestamp() * 1e6) / 60e6
    return Assessed(risks, [round(max(float(minutes), 0.0), 2) for minutes in horizons])


def due_table(cursor: Any, keys: Sequence[Key], at: datetime) -> "pa.Table":
    """Return when the next sync of each integration is due: an interval after the last, and at once if overdue."""
    import pyarrow as pa

    asked = list(dict.fromkeys(keys))
    cursor.register(
        "asked", pa.table({"company_id": [company for company, _ in asked], "integration_id": [i for _, i in asked]})
    )
    last = {
        (company, integration): (system, moment, interval)
        for company, integration, system, moment, interval in cursor.execute(
            "SELECT company_id, integration_id, arg_max(system, occurred_at), max(occurred_at), "
            "arg_max(interval_minutes, occurred_at) FROM seen SEMI JOIN asked USING (company_id, integration_id) "
            "GROUP BY ALL"
        ).fetchall()
    }
    systems, moments = [], []
    for key in asked:
        system, moment, interval = last.get(key, ("", None, None))
        due = at if moment is None else moment + timedelta(minutes=interval or USUAL_INTERVAL)
        systems.append(system)
        moments.append(max(due, at).astimezone(UTC))
    return pa.table(
        {
            "event_id": pa.array([""] * len(asked), pa.string()),
            "company_id": pa.array([company for company, _ in asked], pa.string()),
            "integration_id": pa.array([integration for _, integration in asked], pa.string()),
            "system": pa.array(systems, pa.string()),
            "occurred_at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "lead_minutes": pa.array([(moment - at) / timedelta(minutes=1) for moment in moments], pa.float64()),
        }
    )


def _risks(model: FailureModel, rows: Singles, columns: Described | None) -> list[Risk]:
    probability = model.probability(rows)
    explained = np.flatnonzero(probability >= EXPLAINED_FROM)
    factors = {}
    if len(explained):
        contributions = model.contributions(rows[explained])
        factors = {
            int(place): risk_factors(rows[place], parts, float(probability[place]))
            for place, parts in zip(explained, contributions, strict=True)
        }
    return [
        Risk(
            round(float(likely), 4),
            factors.get(place, []),
            None if columns is None else forecast(columns, place),
        )
        for place, likely in enumerate(probability)
    ]


def _situations(
    keys: Sequence[Key], places: Sequence[int], requests: Sequence[SyncHealthRequest], at: datetime
) -> dict[Key, Situation]:
    """Return what is known of integrations.

    Raises:
        InvalidInputError: one is not known; ``loc`` begins with the request's place.
    """
    with reading() as session:
        known = integrations_of(session, set(keys))
        problems = tuple(
            _unknown(place, requests[place]) for place, key in zip(places, keys, strict=True) if key not in known
        )
        if problems:
            raise InvalidInputError("integrations are unknown", problems)
        return situations_of(session, set(keys), at)


def _unknown(place: int, request: SyncHealthRequest) -> FieldProblem:
    if request.company_id is None:
        return FieldProblem(
            (place, "company_id"),
            f"missing: it is needed to find integration {request.integration_id!r}; send it, or send features",
        )
    return FieldProblem(
        (place, "integration_id"),
        f"company {request.company_id!r} has no integration {request.integration_id!r}; send features, or post its "
        "sync_attempt events first",
    )


def _unknown_situation(at: datetime) -> Situation:
    return Situation(interval_minutes=None, freshness_minutes=FRESHNESS_MINUTES, last_attempt_at=at, last_ok_at=None)


def _fields(risk: Risk, horizon: float, situation: Situation, at: datetime) -> dict[str, Any]:
    return {
        "failure_probability": risk.probability,
        "status": "at_risk" if risk.probability > AT_RISK else "healthy",
        "horizon_minutes": horizon,
        "risk_factors": [factor.model_dump() for factor in risk.factors],
        "actions": [action.model_dump() for action in recommended(risk, situation, at)],
        "rate_limit_forecast": None if risk.forecast is None else risk.forecast.model_dump(),
    }
