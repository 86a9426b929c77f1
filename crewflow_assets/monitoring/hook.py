"""What a model's folder tells monitoring: what a logged prediction said, what was asked, and what became of it.

Nothing here is heavy, and nothing knows a model: models' folders import it, and their specs name a ``Monitored``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from sqlalchemy.orm import Session

Basis = Literal["blind", "decided", "observed", "reported", "reviewed"]
"""How an outcome came to be known: a person decided without seeing the prediction, since its automation was withheld;
a person was asked; the world went its way unaltered; the caller said so; someone chose to review an automatic one."""

WORDS = {"right": True, "accepted": True, "wrong": False, "rejected": False}
"""What callers may post of a recommendation, whatever the model."""

SLOW_CLOCK = timedelta(hours=1)
"""What names a prediction is about it, though the caller's clock put it so long before the prediction."""

Described = Mapping[str, float | str | None]
"""Named facts about a request: numbers, categories, null where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A prediction as it was logged."""

    id: str
    company_id: str | None
    model_version: str
    variant: str
    inputs: Mapping[str, Any]
    output: Mapping[str, Any]
    withheld: bool
    propensity: float
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a prediction.

    ``actual`` is 1.0 where that happened whose probability the model said, 0.0 where it did not; a number where the
    model said a number. ``right`` is whether what was recommended was right. ``weight`` is the number of predictions
    that this outcome stands for: 1 / propensity where it was seen because it was drawn, 0 where it was seen because
    someone chose to look, or where acting on the prediction altered what was to be seen.
    """

    at: datetime
    outcome: str
    actual: float
    right: bool
    basis: Basis
    weight: float = 1.0


class Monitored(ABC):
    """How a model's predictions are judged afterwards."""

    numbers: ClassVar[bool] = False
    """Whether ``said`` is a number rather than a probability."""
    known_after_weeks: ClassVar[int] = 1
    """So many weeks after a week is over, its calibration is looked at: people and syncs take their time."""
    right_means: ClassVar[str]
    """What being right is, for people."""

    @abstractmethod
    def said(self, logged: Logged) -> float | None:
        """Return the probability, or the number, that the model said; None where it said none."""

    @abstractmethod
    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:
        """Return what is known by now of predictions, by id; nothing for those of which nothing is known."""

    @abstractmethod
    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:
        """Return ``actual`` and ``right`` of a posted ``prediction_outcome``; None where its word means nothing."""

    def automatic(self, logged: Logged) -> bool:  # noqa: ARG002
        """Whether the platform acted on it unasked, so that who reports what became of it chose to look."""
        return False

    @property
    @abstractmethod
    def outcome_words(self) -> str:
        """Say which outcomes may be posted, for the message to someone who posted another."""

    @abstractmethod
    def described(self, logged: Logged) -> Described:
        """Return facts about the request whose distribution is watched; always the same names."""

    def answered(self, logged: Logged) -> Described:
        """Return facts about the answer whose distribution is watched: what was said, and whether it was withheld."""
        return {"said": self.said(logged)}


def inverse(logged: Logged) -> float:
    """Return how many predictions a withheld one stands for.

    Raises:
        ValueError: it was logged without its propensity.
    """
    if not 0 < logged.propensity <= 1:
        raise ValueError(f"prediction {logged.id!r} was withheld with the propensity {logged.propensity}; it is lost")
    return 1 / logged.propensity
