"""Why a plan is what it is, as one sentence that a person can check."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crewflow_assets.retry_strategy.contract import ReleaseOn
from crewflow_assets.retry_strategy.surroundings import WINDOWS
from crewflow_assets.retry_strategy.taxonomy import DESCRIPTIONS, Classified

TOLD_FROM = 3
"""Other customers' syncs are told of from so many on."""
READ_FROM = {
    "code": "by its code",
    "text": "by its text",
    "status": "by its status",
    "error_type": "by the error_type sent",
    "similarity": "by likeness to known messages",
}
RELEASE_REASONS: Mapping[ReleaseOn, str] = {
    "reauthorised": "once a sync of the integration succeeds, retry.release tells to make it again",
    "record_edited": "once the record is seen to be mended, retry.release tells to make it again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a sentence about a retry is made of; seconds from now, probabilities of success."""

    system: str
    classified: Classified
    seconds: float
    probability: float
    sooner: tuple[float, float] | None
    """A shorter delay and its probability, if one is allowed."""
    retry_after: float | None
    explored: bool
    held_by_breaker: bool
    others_n: float
    others_failed_share: float


def kind_of(classified: Classified) -> str:
    """Return which class the error is of, and what that was read from."""
    if classified.name == "unknown":
        return "no known cause explains the message"
    return f"{classified.name} {READ_FROM[classified.how]}"


def cause(classified: Classified) -> str:
    """Return what the error is taken for, and what that means."""
    meaning = "" if classified.name == "unknown" else f" ({DESCRIPTIONS[classified.name].split(';')[0]})"
    return kind_of(classified) + meaning


def retry_reason(told: Told) -> str:
    """Return why a call is retried when it is."""
    said = f"{cause(told.classified)}: after {duration(told.seconds)} a retry succeeds with {told.probability:.0%}"
    if told.sooner is not None and told.sooner[1] < told.probability - 0.005:
        said += f", after {duration(told.sooner[0])} with {told.sooner[1]:.0%}"
    if told.retry_after is not None:
        said += f"; the API asks to wait {duration(told.retry_after)}"
    if told.others_n >= TOLD_FROM:
        failed = round(told.others_n * told.others_failed_share)
        said += (
            f"; {failed} of {told.others_n:.0f} other syncs of {told.system} failed in the last {WINDOWS[0]} minutes"
        )
    if told.held_by_breaker:
        said += "; the API is as good as down, so only one probe a minute goes out to it"
    elif told.explored:
        said += "; this delay was drawn at random, to learn from it"
    return said


def no_worth_reason(
    classified: Classified, probability: float, seconds: float, attempts: int, most: int, deadline_hours: float
) -> str:
    """Return why a call is given up that no rule forbids to retry; the deadline is infinite where there is none."""
    if attempts >= most:
        return f"{cause(classified)}: it was made {attempts} times, and {most} are the most"
    late = f"; a success counts within {duration(deadline_hours * 3600)} of the first failure alone"
    return (
        f"{cause(classified)}: even after {duration(seconds)} a retry succeeds with only {probability:.0%}, which is "
        f"not worth the wait and the call{late if math.isfinite(deadline_hours) else ''}"
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
