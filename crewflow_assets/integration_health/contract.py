"""Request and answer of the integration health forecast."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crewflow_assets.contract import NUMBER, Contract, Identifier, PredictionRequest, PredictionResponse
from crewflow_assets.ingest.event_kinds import Count, Milliseconds

Trend = Literal["improving", "stable", "declining"]
Score = Annotated[float, Field(ge=0, le=100)]
SMALLEST_CHANGE = 1.0
"""Points; less is no trend, however sure."""


class CurrentMetrics(Contract):
    """What happened to an integration in the last 30 days, as the caller knows it (PRD 3.2)."""

    successful_syncs: Count = Field(examples=[712])
    total_syncs: Annotated[int, Field(ge=1, le=10**9), NUMBER] = Field(examples=[720])
    avg_latency_ms: Milliseconds = Field(examples=[640.0])
    error_count: Count = Field(examples=[8])
    conflicts: Count = Field(examples=[3])
    duplicates: Count = Field(examples=[1])

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.successful_syncs > self.total_syncs:
            raise ValueError(
                f"successful_syncs is {self.successful_syncs}, more than the {self.total_syncs} total_syncs; "
                "every success is a sync too"
            )
        return self


class HealthForecastRequest(PredictionRequest):
    """What will the health score of this integration be in seven days?"""

    integration_id: Identifier = Field(examples=["i-3"])
    current_metrics: CurrentMetrics | None = Field(
        None, description="The last 30 days as the caller knows them: the forecast starts from these."
    )


class HealthForecastResponse(PredictionResponse):
    """The score in seven days, where it comes to lie in 80 of 100 cases, and what would improve it."""

    score_7d: Score = Field(examples=[91.4])
    interval_80: tuple[Score, Score] = Field(examples=[(86.0, 95.2)])
    trend: Trend = Field(
        description="stable unless the whole interval lies to one side of the present score, and the forecast "
        f"{SMALLEST_CHANGE:g} point or more.",
        examples=["stable"],
    )
    current_score: Score = Field(description="What the forecast starts from.", examples=[92.0])
    as_of: date | None = Field(
        description="The UTC day at whose end the forecast starts; null where it stands on `current_metrics` alone.",
        examples=["2026-03-01"],
    )
    recommendations: list[str] = Field(
        description="What takes most from the score and what to do about it, the costliest first.",
        examples=[
            [
                "Slow answers take 16.0 of 100 points: 640 ms on average in the last 30 days; each 10 ms less gives "
                "back a quarter of a point."
            ]
        ],
    )
