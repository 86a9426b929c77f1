"""What a model is to the platform: ``ModelSpec`` and the interfaces behind it, in plain typed Python.

A spec is read by the Dagster lifecycle, the registry and the services, and loads in milliseconds; the code that
fits and predicts stands behind ``ModelSpec.code`` and is imported when it is first needed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crewflow_assets.contract import PredictionRequest, PredictionResponse

if TYPE_CHECKING:  # loading the specs must not load pandas
    import pandas as pd
    from sqlalchemy.orm import Session

    from crewflow_assets.monitoring.hook import Monitored


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured number with its 95 % interval, the rows behind it, and the baseline on the same rows."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    baseline: str | None = None
    baseline_value: float | None = None

    def __str__(self) -> str:
        """Render as ``0.713 [0.68, 0.74] (nearest neighbour 0.52, n=412)``."""
        if self.value is None:
            return f"none (n={self.n})"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        beside = "" if self.baseline_value is None else f"{self.baseline} {self.baseline_value:.3f}, "
        return f"{self.value:.3f}{interval} ({beside}n={self.n})"


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition on a figure that a champion must meet; a figure without value meets none unless ``or_none``."""

    figure: str
    bound: Literal["value", "low", "high"]
    relation: Literal[">=", "<=", ">"]
    limit: float
    or_none: bool = False

    def passes(self, figure: Figure) -> bool:
        """Say whether the figure meets the condition."""
        measured: float | None = getattr(figure, self.bound)
        if figure.value is None or measured is None:
            return self.or_none
        if self.relation == ">=":
            return measured >= self.limit
        if self.relation == "<=":
            return measured <= self.limit
        return measured > self.limit

    def __str__(self) -> str:
        """Render as ``low of top1_gain > 0``."""
        bound = "" if self.bound == "value" else f"{self.bound} of "
        return f"{bound}{self.figure} {self.relation} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that one evaluation found: figures, plots as PNG bytes, tables for people."""

    figures: tuple[Figure, ...]
    plots: Mapping[str, bytes] = field(default_factory=dict)
    tables: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)

    def figure(self, name: str) -> Figure:
        """Return the figure of that name.

        Raises:
            KeyError: the evaluation has no such figure.
        """
        for candidate in self.figures:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no figure {name!r}; there are {', '.join(f.name for f in self.figures)}")


class Predictor(ABC):
    """A fitted model that can be saved without pickle."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into an existing empty folder, as UBJ, safetensors or JSON."""


class ModelCode(ABC):
    """What a model's folder provides to the platform.

    A feature table is a data frame with one row for each thing to be scored, the features and the label.
    """

    @abstractmethod
    def build_features(self, cutoff: datetime) -> "pd.DataFrame":
        """Build the feature table from everything that happened before ``cutoff``."""

    @abstractmethod
    def fit(self, features: "pd.DataFrame", *, seed: int) -> Predictor:
        """Fit and calibrate on the training rows, cross-fitted where one stands on the other."""

    @abstractmethod
    def baselines(self, features: "pd.DataFrame", *, seed: int) -> Mapping[str, Predictor]:
        """Fit the named simple methods that the model has to beat, on the same rows."""

    @abstractmethod
    def evaluate(
        self, predictor: Predictor, baselines: Mapping[str, Predictor], features: "pd.DataFrame"
    ) -> Evaluation:
        """Measure on the test rows, which no fit has seen."""

    @abstractmethod
    def row_scores(self, predictor: Predictor, features: "pd.DataFrame") -> "pd.DataFrame":
        """Score each row that the first headline figure is measured on, in a fixed order.

        The scores choose the baseline that stands in, and judge a candidate beside the champion.

        Returns:
            Columns ``cluster`` and ``score``; higher is better.
        """

    @abstractmethod
    def load(self, folder: Path) -> Predictor:
        """Read what ``Predictor.save`` wrote."""

    @abstractmethod
    def answer(self, predictor: Predictor, requests: Sequence[Any]) -> list["Answer"]:
        """Answer requests of the spec's request type, in order.

        Raises:
            InvalidInputError: a request asks for what its data cannot answer; ``loc`` starts with its index.
        """


@dataclass(frozen=True, slots=True)
class Answer:
    """One prediction's own fields, before the platform adds id, version and variant.

    ``withheld`` marks an automatic decision that goes blind to a person instead; ``propensity`` is the
    probability with which that was drawn.
    """

    fields: dict[str, Any]
    withheld: bool = False
    propensity: float = 0.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One Great Expectations expectation on the feature table, by its class name and arguments."""

    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """A number that a trigger counted, with a limit of its own in place of the trigger's."""

    number: int
    limit: float


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Retrain when more than ``more_than`` events that ``counts`` finds came since the data of the last training."""

    reason: str
    """Names the trigger's sensor and the claims of its trainings."""
    counts: "Callable[[Session, datetime, datetime], Mapping[str, int] | Mapping[str, Counted]]"
    """Numbers by company, system or another group, from a session, the moment from which events came in, and from
    which they happened. It is asked every half minute."""
    more_than: int
    window_days: int
    noun: str = ""
    """What is counted, as a tick says it; by default the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model of the platform: what it asks, learns from, how it is fitted, judged, retrained and served."""

    name: str
    question: str
    code: Callable[[], ModelCode]
    request_type: type[PredictionRequest]
    response_type: type[PredictionResponse]
    example: Mapping[str, Any]
    event_kinds: tuple[str, ...]
    expectations: tuple[Expectation, ...]
    gates: tuple[Gate, ...]
    headline: tuple[str, ...]
    tolerance: float
    """The δ of promotion: a challenger replaces the champion if the lower bound of its gain is above −δ."""
    retrain_cron: str
    triggers: tuple[EventTrigger, ...] = ()
    contract_version: int = 1
    """The major number of version labels; grows when request or answer change incompatibly."""
    monitored: "Callable[[], Monitored] | None" = None
    """How its predictions are judged afterwards: outcomes, and what is watched for drift."""
    limits: tuple[str, ...] = ()
    """What it cannot do, as sentences of its model card."""
    packages: tuple[str, ...] = ()
    """Distributions that answering needs beyond what every service has: a packed service carries no others."""
