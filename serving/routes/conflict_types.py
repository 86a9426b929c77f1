"""What the routes about conflicts take and answer."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StrictBool

from crewflow_assets.conflict_resolution import metrics, switches
from crewflow_assets.conflict_resolution.contract import (
    ConflictType,
    Contradiction,
    RankedResolution,
    Resolution,
    Value,
)
from crewflow_assets.contract import Contract, Identifier, Name, PredictionId, Probability, System

MOST_ITEMS = 200

Person = Annotated[Name, Field(description="The person, as CrewFlow knows them.", examples=["u-204"])]
Company = Annotated[Identifier | None, Field(description="Absent: the key's company.", examples=["c-17"])]


class Report(Contradiction):
    """Two sides hold different values of a record; with the versions, so that an edit since is noticed."""

    company_id: Company = Field(None, examples=["c-17"])
    conflict_id: Identifier | None = Field(None, description="Absent: one is made.", examples=["x-81"])
    system: System | None = Field(None, examples=["quickbooks"])
    record_type: Identifier = "timecard"
    record_id: Identifier | None = Field(None, description="Commands of one record go in order.", examples=["t-4711"])
    crewflow_version: Identifier | None = Field(None, examples=["3"])
    external_version: Identifier | None = Field(None, examples=["7"])
    crewflow_updated_by: Name | None = Field(None, description="A role, or a person.", examples=["foreman"])
    external_updated_by: Name | None = Field(None, examples=["bookkeeper"])


class Standing(Contract):
    """What was decided."""

    action: Resolution = Field(examples=["use_crewflow"])
    value: Value | None = Field(examples=[8.0])


class ConflictState(Contract):
    """A conflict, with the decision that stands."""

    conflict_id: str = Field(examples=["x-81"])
    company_id: str = Field(examples=["c-17"])
    conflict_type: ConflictType = Field(examples=["hours_mismatch"])
    state: Literal["open", "resolved", "reopened"] = Field(examples=["resolved"])
    crewflow_value: Value | None = Field(examples=[8.0])
    external_value: Value | None = Field(examples=[7.5])
    worker_id: str = Field(examples=["w-9"])
    project_id: str = Field(examples=["p-4"])
    timecard_date: str = Field(examples=["2026-03-01"])
    record_type: str = Field(examples=["timecard"])
    record_id: str | None = Field(examples=["t-4711"])
    opened_at: AwareDatetime = Field(examples=["2026-03-02T13:00:00Z"])
    blind: bool = Field(description="Decide without a suggestion: it measures the model.", examples=[False])
    reopened_reason: str | None = Field(examples=[None])
    edited_at: AwareDatetime | None = Field(
        description="Someone edited the record since; what it holds now is not known.", examples=[None]
    )
    resolution: Standing | None = Field(examples=[{"action": "use_crewflow", "value": 8.0}])
    method: Literal["person", "rule", "model"] | None = Field(examples=["model"])
    decided_by: str | None = Field(examples=["conflict_resolution"])
    decided_at: AwareDatetime | None = Field(examples=["2026-03-02T14:00:00Z"])
    confidence: Probability | None = Field(examples=[0.97])
    reason: str | None = Field(examples=["CrewFlow was edited 2 h ago, QuickBooks 6 h ago"])
    model_version: str | None = Field(examples=["1.3"])
    prediction_id: str | None = Field(examples=["p-4f0c6e1d9b7a42e8a1b2c3d4"])
    decision_id: str | None = Field(examples=["d-8a3b5c7d9e1f20415263a4b5"])
    review_reason: str | None = Field(
        None, description="Why the model did not decide, where it was asked to.", examples=[None]
    )
    suggestions: list[RankedResolution] | None = Field(
        None, examples=[None], description="What the model would do, where a person decides and is to see it."
    )


class Choice(Contract):
    """A person's choice; without ``resolution`` the model decides, if it may and is sure enough."""

    company_id: Company = None
    resolution: Resolution | None = Field(None, examples=["use_external"])
    value: Value | None = Field(
        None, description="With `manual`: what both sides shall hold; null: neither changes.", examples=[7.5]
    )
    decided_by: Person
    prediction_id: PredictionId | None = Field(
        None, description="The prediction that was shown, if one was.", examples=["p-4f0c6e1d9b7a42e8a1b2c3d4"]
    )


class Undo(Contract):
    """Who takes a decision back."""

    company_id: Company = None
    decided_by: Person


class BulkUndo(Contract):
    """Which automatic decisions to take back; a version or a beginning is needed."""

    company_id: Identifier | None = Field(
        None, description="Absent: the key's company; with a platform key, all.", examples=["c-17"]
    )
    model_version: Identifier | None = Field(None, examples=["1.3"])
    conflict_type: ConflictType | None = Field(None, examples=["hours_mismatch"])
    decided_after: AwareDatetime | None = Field(None, examples=["2026-03-01T00:00:00Z"])
    decided_before: AwareDatetime | None = Field(None, examples=["2026-03-02T00:00:00Z"])
    decided_by: Person
    dry_run: StrictBool = Field(False, description="Only say what would be done.")


class Refused(Contract):
    """A decision that stays."""

    conflict_id: str = Field(examples=["x-81"])
    detail: str = Field(examples=["the record was edited since"])


class BulkUndone(Contract):
    """What a bulk undo did."""

    undone: int = Field(examples=[118])
    refused: list[Refused] = Field(description="At most 1,000 of them.")
    refused_in_all: int = Field(examples=[1])
    dry_run: bool


class ConflictList(Contract):
    """A page of conflicts: the oldest days first, of a day the largest first."""

    items: list[ConflictState]
    open: int = Field(description="How many are still to be decided.", examples=[12])
    next: str | None = Field(description="`after` of the next page; null on the last.", examples=[None])


class Metrics(Contract):
    """The PRD's AutoResolutionMetrics."""

    days: int = Field(examples=[30])
    total_conflicts: int = Field(examples=[412])
    auto_resolved: int = Field(examples=[331])
    manual_review: int = Field(examples=[81])
    reviewed: int = Field(examples=[47])
    reviewed_blind: int = Field(description="Withheld from the model and decided blind.", examples=[40])
    auto_resolution_accepted: int = Field(examples=[45])
    auto_resolution_overridden: int = Field(examples=[2])
    accuracy_rate: Probability | None = Field(
        description="From the blind decisions; from all reviews where there are none; null without any.",
        examples=[0.975],
    )
    accuracy_interval: list[float] | None = Field(description="95 %.", examples=[[0.87, 0.996]])
    accuracy_at_most: Probability | None = Field(
        description="What accuracy would be if all that nobody overrode were right.", examples=[0.994]
    )


class SwitchSetting(Contract):
    """Whether conflicts of a type are decided automatically; setting a switch that stopped itself starts it again."""

    company_id: Company = None
    conflict_type: ConflictType
    mode: switches.Mode = Field(examples=["automatic"])
    daily_cap: Annotated[int, Field(ge=0, le=10**6)] | None = Field(
        None, description="Automatic decisions within 24 hours; absent: as it is.", examples=[500]
    )
    decided_by: Person


class Switch(Contract):
    """A switch as it stands."""

    company_id: str = Field(examples=["c-17"])
    conflict_type: ConflictType
    mode: switches.Mode = Field(examples=["automatic"])
    daily_cap: int = Field(examples=[500])
    set_by: str = Field(examples=["u-204"])
    set_at: AwareDatetime = Field(examples=["2026-03-02T14:00:00Z"])
    stopped_at: AwareDatetime | None = Field(examples=[None])
    stopped_reason: str | None = Field(description="Why it has stopped itself.", examples=[None])


class SwitchList(Contract):
    """All switches of a company."""

    items: list[Switch]


class ConflictQuery(Contract):
    """Which conflicts."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.")
    state: Literal["open", "resolved", "all"] = "open"
    type: ConflictType | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 50
    after: Identifier | None = Field(None, description="`next` of the page before.")
    suggestions: bool = Field(False, description="Attach what the model would do to those a person may see it for.")


class MetricsQuery(Contract):
    """Over which decisions."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.")
    type: ConflictType | None = None
    days: Annotated[int, Field(ge=1, le=366)] = metrics.DAYS


class CompanyQuery(Contract):
    """Whose switches."""

    company_id: Identifier | None = Field(None, description="Absent: the key's company.")
