"""The watch: at each tick every integration is scored, and what the scores call for is done.

Scoring reads; acting writes, some hundred integrations a transaction, so that nobody waits long for a lock. A tick
that is run again finds its actions and alerts there and adds nothing; one that is older than the last is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from time import perf_counter
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.contract import new_prediction_id
from crewflow_assets.errors import ConflictError
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import insert_into, reading, transaction
from crewflow_assets.store.sync_tables import Integration, SyncRisk
from crewflow_assets.store.tables import Prediction
from crewflow_assets.sync_health.alerts import AlertBook
from crewflow_assets.sync_health.contract import AT_RISK, RateLimitForecast, RiskFactor, SyncHealthRequest
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.ledger import ActionLedger
from crewflow_assets.sync_health.policy import Plan, Risk, is_dormant, plan, trouble_of

MODEL = "sync_health"
PER_TRANSACTION = 500
"""Integrations; a company's are never divided."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The risk of one integration's next sync, and in how many minutes that is due."""

    risk: Risk
    horizon_minutes: float | None


Scorer = Callable[[Sequence[Key], datetime], Sequence[Scored]]
"""Scores many integrations at a moment, in order, from what happened before it."""


def answering_scorer(answer: Callable[[Sequence[SyncHealthRequest]], Sequence[Answer]]) -> Scorer:
    """Return a scorer that asks a model as the HTTP route does, all integrations at once."""

    def score(keys: Sequence[Key], at: datetime) -> list[Scored]:
        requests = [SyncHealthRequest(company_id=company, integration_id=name) for company, name in keys]
        with clock.fixed(at):
            return [_scored(found.fields) for found in answer(requests)]

    return score


def _scored(fields: Mapping[str, Any]) -> Scored:
    forecast = fields.get("rate_limit_forecast")
    return Scored(
        Risk(
            fields["failure_probability"],
            [RiskFactor.model_validate(factor) for factor in fields["risk_factors"]],
            None if forecast is None else RateLimitForecast.model_validate(forecast),
        ),
        fields["horizon_minutes"],
    )


@dataclass(frozen=True, slots=True)
class TickReport:
    """What a tick found and did; seconds of scoring and of acting."""

    integrations: int = 0
    at_risk: int = 0
    actions: int = 0
    withheld: int = 0
    ended: int = 0
    opened: int = 0
    told: int = 0
    resolved: int = 0
    commands: int = 0
    scoring_seconds: float = 0.0
    acting_seconds: float = 0.0

    def __add__(self, other: "TickReport") -> "TickReport":
        return TickReport(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def last_tick(session: Session) -> datetime | None:
    """Return when integrations were last scored; None if they never were."""
    return session.scalar(select(func.max(SyncRisk.assessed_at)))


def tick(
    scorer: Scorer,
    at: datetime,
    *,
    model_version: str,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> TickReport:
    """Score every integration as of ``at`` and act on the scores.

    Args:
        scorer: The model.
        at: The moment of the tick; what happened at it or later is not known yet.
        model_version: The version label, for audit rows and predictions.
        progress: Told how many integrations of how many are done.

    Raises:
        ConflictError: a later tick was run already.
    """
    with reading() as session:
        last = last_tick(session)
        known = [
            (company, integration_id)
            for company, integration_id in session.execute(
                select(Integration.company_id, Integration.integration_id).order_by(
                    Integration.company_id, Integration.integration_id
                )
            )
        ]
    if last is not None and last > at:
        raise ConflictError(
            f"integrations were watched at {last.isoformat()}, after {at.isoformat()}; what was foreseen then is not "
            "changed, run the tick for the present moment"
        )
    if not known:
        return TickReport()
    began = perf_counter()
    scores = dict(zip(known, scorer(known, at), strict=True))
    total = TickReport(scoring_seconds=perf_counter() - began)
    milliseconds = 1000 * total.scoring_seconds / len(known)
    for chunk in _chunks(known):
        began = perf_counter()
        with transaction() as session:
            part = _act(session, {key: scores[key] for key in chunk}, at, model_version, milliseconds)
        total += part + TickReport(integrations=len(chunk), acting_seconds=perf_counter() - began)
        progress(total.integrations, len(known))
    return total


def _chunks(keys: Sequence[Key]) -> Iterator[list[Key]]:
    """Yield whole companies, as many as make about one transaction."""
    chunk: list[Key] = []
    for key in keys:
        if len(chunk) >= PER_TRANSACTION and key[0] != chunk[-1][0]:
            yield chunk
            chunk = []
        chunk.append(key)
    yield chunk


def _act(
    session: Session, scores: dict[Key, Scored], at: datetime, model_version: str, milliseconds: float
) -> TickReport:
    companies = {company for company, _ in scores}
    ledger = ActionLedger(session, companies, at)
    alerts = AlertBook(ledger, companies)
    ended = ledger.end_what_is_over()
    _write_risks(session, [_risk_row(ledger.integrations[key].id, scores[key], at, model_version) for key in scores])
    predictions: list[dict[str, Any]] = []
    at_risk = actions = withheld = opened = 0
    for key, scored in scores.items():
        at_risk += scored.risk.probability > AT_RISK
        situation = ledger.situation(key)
        trouble = trouble_of(scored.risk, situation, at)
        if trouble is None or ledger.withheld(key) or is_dormant(situation.last_attempt_at, at):
            continue
        planned = plan(scored.risk, situation, at)
        if planned is not None:
            held_back = ledger.draw(key, planned)
            prediction = _prediction(key, scored, planned, at, model_version, milliseconds, withheld=held_back)
            predictions.append(prediction)
            ledger.take(
                key,
                planned,
                withheld=held_back,
                probability=scored.risk.probability,
                model_version=model_version,
                prediction_id=prediction["id"],
            )
            actions += not held_back
            withheld += held_back
            if held_back:
                continue  # people who hear of it might change what is to be measured
        opened += alerts.see(key, trouble, scored.risk.probability)
    if predictions:
        session.execute(insert(Prediction), predictions)
    resolved, told = alerts.resolve_quiet(), alerts.tell()
    commands = ledger.close()
    return TickReport(
        at_risk=at_risk,
        actions=actions,
        withheld=withheld,
        ended=ended,
        opened=opened,
        told=told,
        resolved=resolved,
        commands=commands,
    )


def _risk_row(integration: int, scored: Scored, at: datetime, model_version: str) -> dict[str, Any]:
    forecast = scored.risk.forecast
    return {
        "integration": integration,
        "assessed_at": at,
        "failure_probability": scored.risk.probability,
        "horizon_minutes": scored.horizon_minutes,
        "risk_factors": [factor.model_dump(mode="json") for factor in scored.risk.factors],
        "forecast": None if forecast is None else forecast.model_dump(mode="json"),
        "model_version": model_version,
    }


def _write_risks(session: Session, rows: list[dict[str, Any]]) -> None:
    """Write the newest risk of each integration over the one before, in one statement for many."""
    statement = insert_into(session, SyncRisk.__table__)
    newer: Iterable[str] = [name for name in rows[0] if name != "integration"]
    session.connection().execute(
        statement.on_conflict_do_update(
            index_elements=["integration"], set_={name: statement.excluded[name] for name in newer}
        ),
        rows,
    )


def _prediction(
    key: Key,
    scored: Scored,
    planned: Plan,
    at: datetime,
    model_version: str,
    milliseconds: float,
    *,
    withheld: bool,
) -> dict[str, Any]:
    """Return the row of the prediction log for a score that led to a decision."""
    row = _risk_row(0, scored, at, model_version)
    output = {name: row[name] for name in ("failure_probability", "horizon_minutes", "risk_factors")}
    status = "at_risk" if scored.risk.probability > AT_RISK else "healthy"
    return {
        "id": new_prediction_id(at),
        "model": MODEL,
        "model_version": model_version,
        "variant": "champion",
        "company_id": key[0],
        "inputs": {"integration_id": key[1], "company_id": key[0]},
        "output": output | {"rate_limit_forecast": row["forecast"], "status": status, "action": planned.action},
        "withheld": withheld,
        "propensity": get_settings().withheld_share,
        "latency_ms": milliseconds,
        "created_at": at,
    }
