"""Request and answer of the retry strategy."""

from typing import Annotated, Literal

from pydantic import Field

from crewflow_assets.contract import (
    NUMBER,
    Flag,
    Identifier,
    PredictionRequest,
    PredictionResponse,
    Probability,
    System,
    Text,
)
from crewflow_assets.ingest.event_kinds import Milliseconds

ErrorClass = Literal[
    "rate_limit",
    "quota",
    "server_error",
    "timeout",
    "network",
    "tls",
    "token_expired",
    "auth",
    "subscription",
    "validation",
    "not_found",
    "conflict",
    "duplicate",
    "closed_period",
    "unknown",
]
Alternative = Literal["queue_for_manual", "use_fallback"]
ReleaseOn = Literal["reauthorised", "record_edited"]
Seconds = Annotated[float, Field(ge=0, le=10**7), NUMBER]


class RetryRequest(PredictionRequest):
    """A call to an accounting system failed: retry it, when, how often, or what instead?"""

    integration_id: Identifier | None = Field(None, examples=["i-3"])
    integration_type: System = Field(examples=["quickbooks"])
    error_type: Identifier = Field(
        examples=["rate_limit"], description="The caller's own word; status, code and message weigh more."
    )
    error_message: Text = Field(
        examples=["message=ThrottleExceeded; errorCode=003001; statusCode=429"],
        description="What the API said: its message, or its whole body.",
    )
    previous_attempts: Annotated[int, Field(ge=0, le=1000), NUMBER] = Field(
        examples=[1], description="Times the call was made so far, the first included."
    )
    time_of_day: Annotated[int, Field(ge=0, le=23), NUMBER] = Field(
        examples=[14], description="Hour of the day, UTC."
    )
    api_latency_24h: Milliseconds | None = Field(
        examples=[812.0], description="Mean latency of the integration's calls in the last 24 hours, milliseconds."
    )
    status_code: Annotated[int, Field(ge=0, le=999), NUMBER] | None = Field(
        None, description="HTTP status; null where no answer came."
    )
    error_code: Identifier | None = Field(None, description="The vendor's code, where the message lacks it.")
    latency_ms: Milliseconds | None = Field(None, description="How long the failed call took.")
    retry_after_seconds: Seconds | None = Field(None, description="As the answer's Retry-After said.")
    seconds_since_first_failure: Seconds | None = Field(
        None, description="Since this call first failed; without, as if it were not known."
    )
    write: Flag = Field(False, description="The call creates or changes a record.")
    idempotency_key: Identifier | None = Field(
        None, description="Key with which the API recognises a repeated write; QuickBooks calls it requestid."
    )
    deadline_hours: Annotated[float, Field(gt=0, le=1e4), NUMBER] | None = Field(
        None, description="Hours since the first failure after which a success is worth no more than giving up."
    )
    call_id: Identifier | None = Field(
        None,
        description="The caller's name of this call, the same at every attempt. With it, company and integration, "
        "the call is watched where a person has to mend something.",
    )
    record_type: Identifier = Field("timecard", description="Of the record that the call carries.")
    record_id: Identifier | None = Field(
        None, description="The record that the call carries, as record_version events name it."
    )


class RetryResponse(PredictionResponse):
    """A retry plan."""

    should_retry: bool
    optimal_delay: int | None = Field(
        examples=[95], description="Seconds from the failure to the next attempt, jitter included; null: no retry."
    )
    max_attempts: int = Field(
        examples=[4], description="Attempts in all that this call is worth; ask again after each, things change."
    )
    success_probability: Probability = Field(
        examples=[0.88],
        description="That the next attempt, after this delay, succeeds; without a retry, that of the best.",
    )
    alternative: Alternative | None = Field(
        examples=[None],
        description="queue_for_manual: a person has to act. use_fallback: the caller can go another way; the reason "
        "says which. null where it is retried.",
    )
    reason: str = Field(examples=["quickbooks throttles: 9 of 10 such calls succeeded after 1 to 2 minutes"])
    error_class: ErrorClass = Field(examples=["rate_limit"])
    classified_by: Literal["code", "text", "status", "error_type", "similarity", "nothing"] = Field(
        examples=["code"], description="What the class was read from."
    )
    propensity: Probability | None = Field(
        examples=[0.95],
        description="Probability with which the delay's bucket was chosen; send it back in the retry_outcome event.",
    )
    explored: bool = Field(False, description="The delay was drawn to learn from it, not because it is thought best.")

    release_on: ReleaseOn | None = Field(
        None,
        description="The call is watched: the webhook retry.release tells when to make it once more. reauthorised: "
        "a sync of the integration has succeeded; record_edited: the record was changed. null: nobody watches it.",
    )

    @property
    def automatic(self) -> bool:
        """Whether it is retried without asking a person."""
        return self.should_retry
