"""What one look at an experiment shows: companies by arm, their ratio, each metric's difference with its bounds."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from crewflow_assets.contract import Contract
from crewflow_assets.experiments.assignment import Share
from crewflow_assets.experiments.config import CONTROL
from crewflow_assets.experiments.metrics import Metric
from crewflow_assets.experiments.ratio import sample_ratio
from crewflow_assets.experiments.sequences import LEVEL, ArmMean, arm_mean, difference
from crewflow_assets.monitoring.outcomes import Outcome

Reading = Literal["better", "worse", "open", "too few companies"]


class Comparison(Contract):
    """An arm beside the control by one metric, as people read it; the bounds hold at every look at once."""

    metric: str
    variant: str
    unit: str
    control: float | None
    treatment: float | None
    difference: float | None
    low: float | None
    high: float | None
    reading: Reading
    companies: int
    outcomes: int


class ArmCounts(Contract):
    """Companies of an arm: that were answered by it, and that have an outcome of the first metric."""

    variant: str
    answered: int
    with_outcome: int


class Results(Contract):
    """All that one look found."""

    arms: list[ArmCounts]
    ratio_p_value: float
    ratio_ok: bool
    comparisons: list[Comparison]

    def of(self, variant: str) -> list[Comparison]:
        """Return the comparisons of an arm, in the order of the metrics."""
        return [one for one in self.comparisons if one.variant == variant]

    def after(self, former: "Results") -> "Results":
        """Return these results as they count after a former look's: a ratio that was wrong once stays wrong."""
        p_value = min(self.ratio_p_value, former.ratio_p_value)
        return self.model_copy(update={"ratio_p_value": p_value, "ratio_ok": self.ratio_ok and former.ratio_ok})


def analyse(
    arms: Sequence[Share],
    metrics: Sequence[Metric],
    answered: Mapping[str, int],
    outcomes: Iterable[Outcome],
    *,
    last: bool,
) -> Results:
    """Compare every arm with the control by every metric.

    All intervals hold together with probability 1 − ``LEVEL``, which is shared out evenly (Bonferroni).

    Args:
        arms: With their percentages.
        metrics: The first of them decides the winner.
        answered: Companies that each arm answered.
        outcomes: Of predictions of the arms, each by a company of that arm.
        last: Whether the experiment's time is over, so that nothing is looked at again.
    """
    found = list(outcomes)
    by_metric = [_companies(metric, found) for metric in metrics]
    first = {arm.name: len(by_metric[0].get(arm.name, {})) for arm in arms}
    shares = [arm.percent / 100 for arm in arms]
    ratios = [sample_ratio([counts.get(arm.name, 0) for arm in arms], shares) for counts in (answered, first)]
    others = [arm.name for arm in arms if arm.name != CONTROL]
    alpha = LEVEL / (len(others) * len(metrics))
    return Results(
        arms=[
            ArmCounts(variant=arm.name, answered=answered.get(arm.name, 0), with_outcome=first[arm.name])
            for arm in arms
        ],
        ratio_p_value=min(ratio.p_value for ratio in ratios),
        ratio_ok=all(ratio.ok for ratio in ratios),
        comparisons=[
            _compare(metric, name, companies.get(CONTROL, {}), companies.get(name, {}), alpha, last)
            for name in others
            for metric, companies in zip(metrics, by_metric, strict=True)
        ],
    )


class _Sum:
    """A company's outcomes of one metric: weights, weighted values, and their number."""

    def __init__(self) -> None:
        self.weight = self.value = 0.0
        self.count = 0

    @property
    def mean(self) -> float:
        return self.value / self.weight


def _companies(metric: Metric, outcomes: Iterable[Outcome]) -> dict[str, dict[str, _Sum]]:
    """Return the sums of each arm's companies that have an outcome of weight."""
    sums: dict[str, dict[str, _Sum]] = defaultdict(lambda: defaultdict(_Sum))
    for outcome in outcomes:
        said = metric.of(outcome)
        if said is None or said[1] <= 0 or outcome.company_id is None:
            continue
        one = sums[outcome.variant][outcome.company_id]
        one.value += said[0] * said[1]
        one.weight += said[1]
        one.count += 1
    return sums


def _compare(
    metric: Metric, name: str, control: Mapping[str, _Sum], treatment: Mapping[str, _Sum], alpha: float, last: bool
) -> Comparison:
    beside, arm = _mean(metric, control), _mean(metric, treatment)
    found = difference(beside, arm, scale=metric.scale, alpha=alpha, last=last)
    value, low, high = float(found.value), float(found.low), float(found.high)
    return Comparison(
        metric=metric.name,
        variant=name,
        unit=metric.unit,
        control=_shown(metric.shown, beside),
        treatment=_shown(metric.shown, arm),
        difference=None if np.isnan(value) else metric.shown_difference(value),
        low=None if np.isnan(low) else metric.shown_difference(low),
        high=None if np.isnan(high) else metric.shown_difference(high),
        reading=_read(metric, low, high),
        companies=len(control) + len(treatment),
        outcomes=sum(one.count for arm_ in (control, treatment) for one in arm_.values()),
    )


def _mean(metric: Metric, companies: Mapping[str, _Sum]) -> ArmMean:
    means = np.array([one.mean for one in companies.values()])
    return arm_mean(means, np.ones(len(means), bool), least_spread=metric.least_spread)


def _shown(shown: Callable[[float], float], arm: ArmMean) -> float | None:
    return shown(float(arm.value)) if arm.companies else None


def _read(metric: Metric, low: float, high: float) -> Reading:
    if np.isnan(low):
        return "too few companies"
    if low > 0:
        return "better" if metric.better == "higher" else "worse"
    if high < 0:
        return "worse" if metric.better == "higher" else "better"
    return "open"
