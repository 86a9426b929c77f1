"""Request and answer of conflict resolution."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from crewflow_assets.contract import (
    Contract,
    Identifier,
    Name,
    PredictionRequest,
    PredictionResponse,
    Probability,
    System,
)
from crewflow_assets.ingest.event_kinds import EARLIEST, Moment

ConflictType = Literal["hours_mismatch", "duplicate", "cost_code_changed"]
Resolution = Literal["use_crewflow", "use_external", "manual"]
RESOLUTIONS: tuple[Resolution, ...] = ("use_crewflow", "use_external", "manual")
"""In the order of the model's classes."""
Value = Annotated[float, Field(strict=True, ge=-1e9, le=1e9, allow_inf_nan=False)] | Name
"""Hours are numbers; cost codes and the like are texts."""

MOST_HOURS = 24.0


def _day_after_the_beginning(day: date) -> date:
    if day < EARLIEST.date():
        raise ValueError(f"lies before {EARLIEST:%Y-%m-%d}, where the records begin; check the year")
    return day


Day = Annotated[date, AfterValidator(_day_after_the_beginning)]


class Contradiction(Contract):
    """Two systems hold different values of one timecard; what both the prediction and the queue are told."""

    conflict_type: ConflictType = Field(examples=["hours_mismatch"])
    crewflow_value: Value | None = Field(
        examples=[8.0], description="What CrewFlow holds: hours, a cost code; null: CrewFlow has no such record."
    )
    external_value: Value | None = Field(
        examples=[7.5], description="What the accounting system holds; null: it has no such record."
    )
    worker_id: Identifier = Field(examples=["w-9"])
    project_id: Identifier = Field(examples=["p-4"])
    timecard_date: Day = Field(examples=["2025-10-15"])
    crewflow_updated_at: Moment | None = Field(
        None, examples=["2025-10-15T21:00:00Z"], description="When CrewFlow's value was last edited."
    )
    external_updated_at: Moment | None = Field(
        None, examples=["2025-10-15T17:00:00Z"], description="When the other value was last edited."
    )
    last_sync_timestamp: Moment = Field(
        examples=["2025-10-16T06:00:00Z"], description="When the two sides last agreed."
    )

    @model_validator(mode="after")
    def _contradicts(self) -> Self:
        ours, theirs = self.crewflow_value, self.external_value
        if ours is None and theirs is None:
            raise ValueError("crewflow_value and external_value are both null; name what at least one side holds")
        if self.conflict_type == "hours_mismatch":
            for name, value in (("crewflow_value", ours), ("external_value", theirs)):
                if not isinstance(value, float) or not 0 <= value <= MOST_HOURS:
                    raise ValueError(
                        f"{name} is {value!r}, but hours_mismatch needs hours from 0 to {MOST_HOURS:g}; send a number"
                    )
        if ours == theirs and self.conflict_type != "duplicate":
            raise ValueError(f"crewflow_value and external_value are both {ours!r}: nothing contradicts")
        return self


class ConflictRequest(PredictionRequest, Contradiction):
    """CrewFlow says 8.0 hours, the accounting system 7.5: which stands?"""

    company_id: Identifier = Field(examples=["c-17"])
    system: System | None = Field(None, description="The accounting system, where the company has more than one.")


class Recommendation(Contract):
    """What should stand; ``manual`` has no value: a person decides."""

    action: Resolution = Field(examples=["use_crewflow"])
    value: Value | None = Field(examples=[8.0])


class RankedResolution(Contract):
    """A resolution with its calibrated probability."""

    action: Resolution = Field(examples=["use_crewflow"])
    probability: Probability = Field(examples=[0.92])


class ConflictResponse(PredictionResponse):
    """What should stand, how sure that is, and why."""

    recommended_resolution: Recommendation
    confidence: Probability = Field(
        examples=[0.92], description="The calibrated probability that people would decide the same."
    )
    auto_resolve: bool = Field(
        description="True where automatic decisions of this conflict type stay at least 95 % right."
    )
    reason: str = Field(
        examples=["CrewFlow was edited 2 h ago, QuickBooks 6 h ago; this worker's last 9 Fridays were 8.0 h"]
    )
    suggestions: list[RankedResolution] = Field(description="Every resolution, most probable first.")
    withheld: bool = Field(
        False, description="Automatic resolution was held back on purpose: show it to a person without suggestions."
    )

    @property
    def automatic(self) -> bool:
        """Whether it may be resolved without asking a person."""
        return self.auto_resolve
