"""What arms can be compared by: numbers that the outcome of one prediction gives, by model."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Literal

from crewflow_assets.errors import NotFoundError
from crewflow_assets.monitoring.outcomes import Outcome
from crewflow_assets.spec import ModelSpec

SHORTEST_SECONDS = 1.0
LARGEST_LOGARITHM = 20.0
"""A bound that says half a thousand million times as long says as much as one without end, and can be stored."""
SEEN_BY_PEOPLE = ("decided", "reviewed", "reported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number for each outcome, and how differences of it are read."""

    name: str
    meaning: str
    unit: Literal["share", "minutes", "points", "squared error"]
    better: Literal["higher", "lower"]
    scale: float
    """The size of difference at which the interval is tightest, in the analysis's unit; fixed for all experiments.

    About three standard errors of a hundred companies: there the normal mixture is within 1 % of its least width.
    """
    least_spread: float
    """The least standard deviation between companies that an estimate is believed to have; same unit."""
    of: Callable[[Outcome], tuple[float, float] | None]
    """Value and weight of an outcome, or None where it says nothing about this."""
    logarithmic: bool = False
    """Whether ``of`` gives a logarithm: then arms are shown by geometric means and differences as ratios less 1."""

    def shown(self, value: float) -> float:
        """Return an arm's mean as people read it."""
        return exp(value) if self.logarithmic else value

    def shown_difference(self, value: float) -> float:
        """Return a difference, or a bound of it, as people read it; -0.2 of a logarithmic one means 20 % less."""
        return exp(min(value, LARGEST_LOGARITHM)) - 1 if self.logarithmic else value


def _right(outcome: Outcome) -> tuple[float, float] | None:
    return float(outcome.right), outcome.weight


def _accepted(outcome: Outcome) -> tuple[float, float] | None:
    return (float(outcome.right), 1.0) if outcome.basis in SEEN_BY_PEOPLE else None


def _minutes(outcome: Outcome) -> tuple[float, float] | None:
    if outcome.basis != "decided":
        return None
    seconds = max((outcome.known_at - outcome.created_at).total_seconds(), SHORTEST_SECONDS)
    return log(seconds / 60), 1.0


def _squared(outcome: Outcome) -> tuple[float, float] | None:
    return None if outcome.said is None else ((outcome.said - outcome.actual) ** 2, outcome.weight)


def _distance(outcome: Outcome) -> tuple[float, float] | None:
    return None if outcome.said is None else (abs(outcome.said - outcome.actual), outcome.weight)


def _happened(outcome: Outcome) -> tuple[float, float] | None:
    return outcome.actual, outcome.weight


def _share(name: str, meaning: str, of: Callable[[Outcome], tuple[float, float] | None]) -> Metric:
    return Metric(name=name, meaning=meaning, unit="share", better="higher", scale=0.1, least_spread=0.05, of=of)


def _time(name: str, meaning: str) -> Metric:
    return Metric(
        name=name,
        meaning=meaning,
        unit="minutes",
        better="lower",
        scale=0.3,
        least_spread=0.1,
        of=_minutes,
        logarithmic=True,
    )


ACCEPTANCE = _share("user_acceptance_rate", "people who saw the answer chose what it said first", _accepted)
PROBABILITY_ERROR = Metric(
    name="prediction_error",
    meaning="squared distance of the probability from what happened (Brier)",
    unit="squared error",
    better="lower",
    scale=0.02,
    least_spread=0.02,
    of=_squared,
)
METRICS: dict[str, tuple[Metric, ...]] = {
    "cost_code_mapping": (
        _share("mapping_accuracy", "a person chose the first suggestion; blind decisions with their weight", _right),
        ACCEPTANCE,
        _time("setup_time", "from the suggestion to the person's decision on it; what is still open is not counted"),
    ),
    "sync_health": (_share("failure_accuracy", "said at risk as the next sync came out", _right), PROBABILITY_ERROR),
    "conflict_resolution": (
        _share("resolution_accuracy", "a person chose what was recommended; blind decisions weighted", _right),
        ACCEPTANCE,
        _time("decision_time", "from the recommendation to the person's decision; what is open is not counted"),
    ),
    "retry_strategy": (
        _share(
            "retry_success_rate",
            "a retry succeeded, of those that were made; read it beside how often each arm advises one",
            _happened,
        ),
        PROBABILITY_ERROR,
    ),
    "integration_health_forecast": (
        Metric(
            name="forecast_error",
            meaning="distance of the forecast from the score of that day",
            unit="points",
            better="lower",
            scale=1.0,
            least_spread=0.5,
            of=_distance,
        ),
    ),
}
ANY_MODEL = (_share("accuracy", "the answer was right", _right), PROBABILITY_ERROR)
"""Of a model that names none of its own."""


def metrics_of(spec: ModelSpec) -> tuple[Metric, ...]:
    """Return what the model's outcomes can give; nothing where its spec does not say how they are found."""
    return () if spec.monitored is None else METRICS.get(spec.name, ANY_MODEL)


def metric_named(spec: ModelSpec, name: str) -> Metric:
    """Return a metric of the model.

    Raises:
        NotFoundError: it has no such metric.
    """
    for metric in metrics_of(spec):
        if metric.name == name:
            return metric
    known = ", ".join(metric.name for metric in metrics_of(spec)) or "none"
    raise NotFoundError(f"{spec.name} has no metric {name!r}; there are {known}")
