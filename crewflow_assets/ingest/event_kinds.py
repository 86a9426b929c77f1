"""The kinds of events that come in, and what each carries."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from crewflow_assets.contract import (
    NUMBER,
    Contract,
    Flag,
    Identifier,
    Name,
    PredictionId,
    Probability,
    System,
    Text,
    printable,
)

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""The lake begins here; what is said to have happened before is a wrong clock or a wrong year."""

Side = Literal["crewflow", "external"]
EventId = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9), NUMBER]
Count = Annotated[int, Field(ge=0, le=10**9), NUMBER]


def _after_the_beginning(moment: AwareDatetime) -> AwareDatetime:
    if moment < EARLIEST:
        raise ValueError(f"lies before {EARLIEST:%Y-%m-%d}, where the records begin; check clock and year")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_after_the_beginning)]
"""A moment that a request names: with a time zone, and not before the records begin."""


class MappingDecision(Contract):
    """Someone, or something, mapped an item to an account, or took a mapping back (``undo``)."""

    kind: Literal["cost_code", "project"] = "cost_code"
    system: System
    source_code: Identifier
    action: Literal["accept", "correct", "undo"]
    target_code: Name | None
    suggested_code: Name | None = None
    previous_code: Name | None = None
    confidence: Annotated[Probability, NUMBER] | None = None
    method: Literal["person", "memory", "model", "import"] = "person"
    decided_by: Name
    prediction_id: PredictionId | None = None
    blind: Flag = False
    propensity: Annotated[Probability, NUMBER] | None = None

    @model_validator(mode="after")
    def _names_an_account(self) -> Self:
        if self.action != "undo" and self.target_code is None:
            raise ValueError(f"target_code is null, but {self.action!r} maps to an account; name it, or send 'undo'")
        return self


class SyncAttempt(Contract):
    """One attempt to sync an integration, with its outcome."""

    integration_id: Identifier
    system: System
    ok: Flag
    latency_ms: Milliseconds | None = None
    status_code: Annotated[int, Field(ge=0, le=999), NUMBER] | None = None
    error_class: Identifier | None = None
    error_message: Text | None = None
    network_latency_ms: Milliseconds | None = None
    calls: Count = 1
    calls_left: Count | None = None
    calls_limit: Count | None = None
    rate_limit_hits: Count = 0
    retry_after_seconds: Annotated[float, Field(ge=0, le=10**7), NUMBER] | None = None
    records_failed: Count = 0
    interval_minutes: Annotated[float, Field(gt=0, le=10**6), NUMBER] | None = None
    grant_expires_in_seconds: Annotated[float, Field(ge=0, le=10**9), NUMBER] | None = Field(
        None,
        description="Remaining life of the refresh token (QuickBooks: x_refresh_token_expires_in), never the access "
        "token's expires_in; below 86,400 it is taken for the latter and not kept.",
    )


class ApiStatus(Contract):
    """What a system's status page said."""

    system: System
    status: Literal["operational", "degraded", "partial_outage", "major_outage", "maintenance"]


class RecordVersion(Contract):
    """A version of a record on one side; ``command_id`` names the command that made it, if one of ours did."""

    record_type: Identifier
    record_id: Identifier
    side: Side
    version: Identifier
    changed_by: Name | None = None
    command_id: Identifier | None = None
    values: dict[str, Any]


class RetryOutcome(Contract):
    """What came of retrying a failed call: one event a retry.

    ``error_class``, ``error_message``, ``status_code``, ``error_code``, ``retry_after_seconds`` and ``latency_ms``
    describe the failure that the retry follows, ``delay_seconds`` counts from it; the event occurs when the retry
    ran. ``call_id`` is shared by all retries of one call, ``attempt`` is 1 for the first. ``propensity`` is the
    probability with which the delay's bucket (``retry_strategy.delays``) was drawn. ``idempotent`` says that the call
    may be repeated without harm: it reads, or it carries an idempotency key. ``prediction_id`` names the plan asked.
    """

    integration_id: Identifier
    system: System
    call_id: Identifier | None = None
    error_class: Identifier
    error_message: Text | None = None
    status_code: Annotated[int, Field(ge=0, le=999), NUMBER] | None = None
    error_code: Identifier | None = None
    write: Flag = False
    idempotent: Flag = True
    retry_after_seconds: Annotated[float, Field(ge=0, le=10**7), NUMBER] | None = None
    latency_ms: Milliseconds | None = None
    attempt: Annotated[int, Field(ge=1, le=1000), NUMBER]
    delay_seconds: Annotated[float, Field(ge=0, le=10**8), NUMBER]
    ok: Flag
    propensity: Annotated[Probability, NUMBER] | None = None
    prediction_id: PredictionId | None = None


class ConflictRecorded(Contract):
    """The two sides hold different values of a record; ``values`` has one for ``crewflow`` and ``external`` each."""

    conflict_id: Identifier
    conflict_type: Identifier
    values: dict[Side, float | str | None]
    worker_id: Identifier
    project_id: Identifier
    timecard_date: date
    crewflow_updated_at: AwareDatetime | None = None
    external_updated_at: AwareDatetime | None = None
    crewflow_updated_by: Name | None = None
    external_updated_by: Name | None = None
    last_sync_timestamp: AwareDatetime
    system: System | None = None
    record_type: Identifier = "timecard"
    record_id: Identifier | None = None
    crewflow_version: Identifier | None = None
    external_version: Identifier | None = None


class ConflictDecision(Contract):
    """What was decided about two values that contradict each other, or that a decision was taken back (``undo``)."""

    conflict_id: Identifier
    conflict_type: Identifier
    action: Literal["resolve", "undo"] = "resolve"
    resolution: Literal["use_crewflow", "use_external", "manual"]
    value: Annotated[float, Field(ge=-1e9, le=1e9), NUMBER] | None = None
    text_value: Name | None = None
    method: Literal["person", "rule", "model"] = "person"
    decided_by: Name
    confidence: Annotated[Probability, NUMBER] | None = None
    model_version: Identifier | None = None
    prediction_id: PredictionId | None = None
    blind: Flag = False
    propensity: Annotated[Probability, NUMBER] | None = None


class PredictionOutcome(Contract):
    """What became of a prediction."""

    prediction_id: PredictionId
    outcome: Identifier
    value: Annotated[float, NUMBER] | None = None


PAYLOADS: dict[str, type[Contract]] = {
    "mapping_decision": MappingDecision,
    "sync_attempt": SyncAttempt,
    "api_status": ApiStatus,
    "record_version": RecordVersion,
    "retry_outcome": RetryOutcome,
    "conflict": ConflictRecorded,
    "conflict_decision": ConflictDecision,
    "prediction_outcome": PredictionOutcome,
}

EventKind = Literal[
    "mapping_decision",
    "sync_attempt",
    "api_status",
    "record_version",
    "retry_outcome",
    "conflict",
    "conflict_decision",
    "prediction_outcome",
]


class EventIn(Contract):
    """One event as it is posted. ``event_id`` is the sender's and makes a repetition harmless."""

    event_id: EventId
    kind: EventKind
    company_id: Identifier
    occurred_at: AwareDatetime
    payload: dict[str, Any]

    @property
    def moment(self) -> datetime:
        """When it happened."""
        return self.occurred_at
