"""Integrations: their health as a dashboard shows it, what was done to keep them syncing, and taking it back."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Response
from pydantic import AwareDatetime, Field
from sqlalchemy.orm import Session

from crewflow_assets.contract import Contract, Identifier, Name, Probability
from crewflow_assets.errors import NotReadyError
from crewflow_assets.integration_health.contract import HealthForecastRequest, Trend
from crewflow_assets.store.database import reading
from crewflow_assets.sync_health import actions, dashboard
from crewflow_assets.sync_health.contract import ActionName, RateLimitForecast, RiskFactor, Status
from serving.caller import company_of
from serving.decisions import IdempotencyKey, KeyedRequest
from serving.problems import Problem
from serving.runtime import Runtime

MOST_ITEMS = 200
FORECAST = "integration_health_forecast"

State = Literal["active", "slowed", "paused"]
Score = Annotated[float, Field(ge=0, le=100)]
IntegrationId = Annotated[Identifier, Path(alias="id", description="The integration.", examples=["i-3"])]


class IntegrationSummary(Contract):
    """An integration in a list."""

    integration_id: str = Field(examples=["i-3"])
    system: str = Field(examples=["quickbooks"])
    status: Status | None = Field(description="Null before the first tick of the watch.", examples=["at_risk"])
    failure_probability: Probability | None = Field(examples=[0.75])
    state: State = Field(examples=["slowed"])
    needs_authorisation: bool = Field(examples=[False])
    last_ok_at: AwareDatetime | None = Field(examples=["2026-03-02T13:45:00Z"])
    open_alerts: int = Field(examples=[1])


class IntegrationList(Contract):
    """A page of a company's integrations, in the order of their ids."""

    company_id: str = Field(examples=["c-17"])
    items: list[IntegrationSummary]
    next: str | None = Field(description="`after` of the next page; null on the last.", examples=[None])


class Schedule(Contract):
    """How often it syncs now; what is slowed or paused goes back to the usual by itself at ``until``."""

    state: State = Field(examples=["slowed"])
    until: AwareDatetime | None = Field(examples=["2026-03-02T16:00:00Z"])
    interval_minutes: float | None = Field(examples=[30.0])
    usual_interval_minutes: float | None = Field(examples=[15.0])
    freshness_minutes: float = Field(
        description="Within this a sync that is due has to be completed.", examples=[240.0]
    )


class HealthAction(Contract):
    """Something that was done, or that a person might do."""

    action_id: str | None = Field(description="For `undo`; null where nothing was done yet.", examples=["act-5d2f…"])
    action: ActionName = Field(examples=["slow_down"])
    automatic: bool = Field(description="Whether the platform did it by itself.", examples=[True])
    done: bool = Field(
        description="Whether nothing is left to do; what people are asked for is open.", examples=[True]
    )
    detail: str | None = Field(examples=["87 of 100 calls used in the last hour"])
    interval_minutes: float | None = Field(examples=[30.0])
    until: AwareDatetime | None = Field(examples=["2026-03-02T16:00:00Z"])


class OpenAlert(Contract):
    """An alert that is open."""

    alert_id: str = Field(examples=["a-91c4…"])
    code: str = Field(description="The cause; `unknown` where no single one stands out.", examples=["rate_limit"])
    detail: str = Field(examples=["87 of 100 calls used in the last hour"])
    message: str = Field(examples=["The next quickbooks sync will probably fail (75%): 87 of 100 calls used"])
    failure_probability: Probability = Field(examples=[0.75])
    opened_at: AwareDatetime = Field(examples=["2026-03-02T13:15:00Z"])
    last_seen_at: AwareDatetime = Field(examples=["2026-03-02T14:00:00Z"])
    told: bool = Field(description="False while the company's limit a day holds it back.", examples=[True])


class Components(Contract):
    """The parts of the score, 0 to 100; null without syncs in the 30 days."""

    sync_success_rate: Score | None = Field(examples=[98.9])
    latency: Score | None = Field(examples=[87.2])
    error_rate: Score | None = Field(examples=[94.0])
    data_quality: Score | None = Field(examples=[92.0])


class IntegrationHealth(Contract):
    """What the dashboard shows; the risk is what the last tick of the watch said, the score that of a whole day."""

    integration_id: str = Field(examples=["i-3"])
    company_id: str = Field(examples=["c-17"])
    system: str = Field(examples=["quickbooks"])
    as_of: AwareDatetime = Field(examples=["2026-03-02T14:07:00Z"])
    status: Status | None = Field(description="Null before the first tick of the watch.", examples=["at_risk"])
    failure_probability: Probability | None = Field(examples=[0.75])
    assessed_at: AwareDatetime | None = Field(examples=["2026-03-02T14:00:00Z"])
    horizon_minutes: float | None = Field(description="Until the next scheduled sync.", examples=[15.0])
    model_version: str | None = Field(examples=["1.0"])
    risk_factors: list[RiskFactor]
    rate_limit_forecast: RateLimitForecast | None = Field(
        examples=[{"minutes": 118.0, "low_minutes": 74.0, "high_minutes": 205.0, "probability": 0.81}]
    )
    schedule: Schedule
    needs_authorisation: bool = Field(examples=[False])
    last_attempt_at: AwareDatetime | None = Field(examples=["2026-03-02T13:45:00Z"])
    last_ok_at: AwareDatetime | None = Field(examples=["2026-03-02T13:45:00Z"])
    actions: list[HealthAction]
    alerts: list[OpenAlert]
    overall_score: Score | None = Field(examples=[93.0])
    components: Components
    scored_on: str | None = Field(description="The UTC day at whose end the score stood.", examples=["2026-03-01"])
    trend: Trend | None = Field(description="Of the next seven days; null with the three below.", examples=["stable"])
    predicted_7d_score: Score | None = Field(
        description="Null without syncs in the 30 days, and before a forecast is registered.", examples=[91.4]
    )
    predicted_7d_interval: tuple[Score, Score] | None = Field(
        description="Where the score comes to lie in 80 of 100 cases.", examples=[(86.0, 95.2)]
    )
    recommendations: list[str] = Field(
        description="What takes most from the score, and what to do about it.",
        examples=[["Slow answers take 16.0 of 100 points: 640 ms on average in the last 30 days; each 10 ms less …"]],
    )


class Action(Contract):
    """An action with all that is known of it."""

    action_id: str = Field(examples=["act-5d2f…"])
    company_id: str = Field(examples=["c-17"])
    integration_id: str = Field(examples=["i-3"])
    action: ActionName = Field(examples=["pause"])
    cause: str = Field(examples=["api_down"])
    detail: str = Field(examples=["7 of 9 integrations of quickbooks failed in the last hour"])
    state: Literal["in_force", "over", "done", "superseded", "undone", "refused", "withheld"] = Field(
        examples=["undone"]
    )
    automatic: bool = Field(examples=[True])
    delivered: bool = Field(description="Whether the receiver has taken the command over.", examples=[True])
    interval_minutes: float | None = Field(examples=[None])
    decided_by: str = Field(examples=["sync_health"])
    decided_at: AwareDatetime = Field(examples=["2026-03-02T14:00:00Z"])
    until: AwareDatetime = Field(examples=["2026-03-02T15:00:00Z"])
    ended_at: AwareDatetime | None = Field(examples=["2026-03-02T14:07:00Z"])
    ended_by: str | None = Field(examples=["u-204"])
    ended_reason: str | None = Field(examples=["taken back"])
    failure_probability: Probability | None = Field(examples=[0.91])
    model_version: str | None = Field(examples=["1.0"])
    prediction_id: str | None = Field(examples=["p-4f0c6e1d9b7a42e8a1b2c3d4"])


class ActionList(Contract):
    """A page of an integration's actions, the newest first."""

    items: list[Action]
    next: str | None = Field(description="`after` of the next page; null on the last.", examples=[None])


class ActionUndo(Contract):
    """Who takes an action back."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.", examples=["c-17"])
    decided_by: Name = Field(description="The person, as CrewFlow knows them.", examples=["u-204"])


class CompanyQuery(Contract):
    """Whose integration."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.")


class PageQuery(CompanyQuery):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 50
    after: Identifier | None = Field(None, description="`next` of the page before.")


def foreseen(runtime: Runtime, company_id: str, integration_id: str) -> dict[str, Any]:
    """Return the forecast of an integration as its health shows it: nulls where there is nothing to forecast from."""
    predictions = runtime.predictions.get(FORECAST)
    nothing: dict[str, Any] = {
        "trend": None,
        "predicted_7d_score": None,
        "predicted_7d_interval": None,
        "recommendations": [],
    }
    if predictions is None:  # this service serves other models
        return nothing
    try:
        [answer] = predictions.singly([HealthForecastRequest(company_id=company_id, integration_id=integration_id)])
    except NotReadyError:
        return nothing
    except Problem as problem:
        if problem.status != 400:  # of a known integration: it has no syncs
            raise
        return nothing
    said = answer.model_dump()
    return {
        "trend": said["trend"],
        "predicted_7d_score": said["score_7d"],
        "predicted_7d_interval": said["interval_80"],
        "recommendations": said["recommendations"],
    }


def add_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes about integrations."""

    @app.get("/v1/integrations", tags=["integrations"], summary="A company's integrations with status and alerts")
    def list_integrations(query: Annotated[PageQuery, Query()]) -> IntegrationList:
        """List a company's integrations in the order of their ids."""
        company_id = company_of(query.company_id)
        with reading() as session:
            page = dashboard.overview(session, company_id=company_id, limit=query.limit, after=query.after)
        return IntegrationList.model_validate(page)

    @app.get("/v1/integrations/{id}/health", tags=["integrations"], summary="What the dashboard of one shows")
    def health(integration_id: IntegrationId, query: Annotated[CompanyQuery, Query()]) -> IntegrationHealth:
        """Show status, risk and its causes, what was done and what is to do, open alerts and the daily score."""
        company_id = company_of(query.company_id)
        with reading() as session:
            found = dashboard.health_of(session, company_id=company_id, integration_id=integration_id)
        return IntegrationHealth.model_validate(found | foreseen(runtime, company_id, integration_id))

    @app.get("/v1/integrations/{id}/actions", tags=["integrations"], summary="What was done to keep it syncing")
    def list_actions(integration_id: IntegrationId, query: Annotated[PageQuery, Query()]) -> ActionList:
        """List every action, the newest first: those in force, over, undone, refused and withheld."""
        company_id = company_of(query.company_id)
        with reading() as session:
            page = actions.actions_of(
                session, company_id=company_id, integration_id=integration_id, limit=query.limit, after=query.after
            )
        return ActionList.model_validate(page)

    @app.post("/v1/integrations/{id}/actions/{action_id}/undo", tags=["integrations"], summary="Take an action back")
    def undo(
        integration_id: IntegrationId,
        action_id: Annotated[Identifier, Path(examples=["act-5d2f…"])],
        body: ActionUndo,
        response: Response,
        idempotency_key: IdempotencyKey = None,
    ) -> Action:
        """Go back to the usual schedule, or withdraw what people were asked for. 409 where it no longer stands."""
        company_id = company_of(body.company_id)

        def act(session: Session) -> dict[str, Any]:
            return actions.undo(
                session,
                company_id=company_id,
                integration_id=integration_id,
                action_id=action_id,
                decided_by=body.decided_by,
            )

        route = f"undo/{integration_id}/{action_id}"
        asked = KeyedRequest("integrations", route, company_id, body, idempotency_key, response)
        return Action.model_validate(asked.once(act))
