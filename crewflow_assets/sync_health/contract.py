"""Request and answer of sync health."""

from typing import Literal, Self

from pydantic import Field, model_validator

from crewflow_assets.contract import Contract, Identifier, PredictionRequest, PredictionResponse, Probability
from crewflow_assets.ingest.event_kinds import Count, Milliseconds, Moment

Cause = Literal["rate_limit", "api_down", "latency", "auth", "data_quality", "network"]
ActionName = Literal["slow_down", "pause", "reauthorise", "review_records"]
Status = Literal["at_risk", "healthy"]
StatusPage = Literal["operational", "degraded", "partial_outage", "major_outage", "maintenance"]

AT_RISK = 0.7
"""An integration is at risk above this probability (PRD 2.2)."""


class SyncFeatures(Contract):
    """What the caller knows of the integration's last 24 hours; latencies in milliseconds."""

    sync_attempts_24h: Count = Field(examples=[24])
    sync_failures_24h: Count = Field(examples=[2])
    avg_latency_24h: Milliseconds | None = Field(examples=[2300.0])
    rate_limit_hits_24h: Count = Field(examples=[9])
    network_latency: Milliseconds | None = Field(examples=[41.0])
    api_status: StatusPage | None = Field(examples=["degraded"])
    timestamp: Moment = Field(examples=["2026-03-02T14:00:00Z"])

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.sync_failures_24h > self.sync_attempts_24h:
            raise ValueError(
                f"sync_failures_24h is {self.sync_failures_24h}, more than the {self.sync_attempts_24h} "
                "sync_attempts_24h; every failure is an attempt too"
            )
        return self


class SyncHealthRequest(PredictionRequest):
    """Will this integration's next sync fail, and why?"""

    integration_id: Identifier = Field(examples=["i-3"])
    features: SyncFeatures | None = Field(
        None, description="The last 24 hours as the caller knows them; without, they are built from the store."
    )


class RiskFactor(Contract):
    """A cause, with what a person can check, and its share in the probability."""

    code: Cause
    detail: str = Field(examples=["87 of 100 calls used in the last hour"])
    contribution: float = Field(
        examples=[0.31],
        description="How much of the probability above the usual this cause explains; factors come largest first.",
    )


class RecommendedAction(Contract):
    """What the platform would do about a risk factor, and whether it does so by itself."""

    action: ActionName
    interval_minutes: int | None = Field(None, description="slow_down: the interval until it is over.")
    duration_minutes: int | None = Field(None, description="pause: after this the syncs resume by themselves.")
    automatic: bool


class RateLimitForecast(Contract):
    """When the calls that are left will have been used: the median, in minutes from now."""

    minutes: float
    low_minutes: float = Field(description="Lower end of the 80 % interval.")
    high_minutes: float | None = Field(description="Upper end of the 80 % interval; null: may never happen.")
    probability: Probability = Field(description="That the limit is hit within two hours.")
    reset_minutes: float | None = Field(
        None, description="Until the calls begin anew, where the API said so or a day's calls show it; null: unknown."
    )
    reset_stated: bool = Field(
        False, description="Whether the API itself said when (Retry-After); else it is inferred from the last day."
    )


class SyncHealthResponse(PredictionResponse):
    """The probability that the next sync fails, why, and what should be done."""

    failure_probability: Probability
    status: Status = Field(description=f"at_risk above {AT_RISK}.")
    horizon_minutes: float = Field(description="Until the next scheduled sync.")
    risk_factors: list[RiskFactor]
    actions: list[RecommendedAction]
    rate_limit_forecast: RateLimitForecast | None = None

    @property
    def automatic(self) -> bool:
        """Whether the platform would act by itself."""
        return any(action.automatic for action in self.actions)
