"""What a good retry model must show: figures beside named tables, calibration by delay, what plans are worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.arrays import AnyFloats, Bools, Floats, Ints, Objects
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_bootstrap, cluster_mean, or_none
from crewflow_assets.retry_strategy import off_policy
from crewflow_assets.retry_strategy.delays import BUCKETS, EDGES, bucket_of
from crewflow_assets.retry_strategy.features import Failures
from crewflow_assets.retry_strategy.model import RetryPredictor, examples_of, log_loss
from crewflow_assets.retry_strategy.plan import Values, plan, probabilities
from crewflow_assets.retry_strategy.rules import NEVER
from crewflow_assets.retry_strategy.surroundings import SURROUNDINGS
from crewflow_assets.retry_strategy.taxonomy import CLASSES

if TYPE_CHECKING:
    import pandas as pd

    from crewflow_assets.spec import Evaluation, Figure

BASELINES: Mapping[str, tuple[str, ...]] = {
    "error class": ("class",),
    "class and attempts": ("class", "attempts"),
    "class and delay": ("class", "delay"),
}
"""Tables of shares; the first two are what a fixed rule knows, the third the curve without context."""
OURS = "ours"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A method's probabilities of success, with what happened; intervals are clustered by ``entity``."""

    probability: Floats
    ok: Floats
    entity: Objects

    def only(self, chosen: Bools | Ints) -> "Judged":
        """Return the chosen rows."""
        return Judged(self.probability[chosen], self.ok[chosen], self.entity[chosen])


def pr_auc(judged: Judged) -> float:
    """Return the average precision of foretelling success, ties taken together; NaN without successes."""
    p, ok = judged.probability, judged.ok
    if not ok.any():
        return float("nan")
    order = np.argsort(-p, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(p[order])), len(p) - 1]
    hits = np.cumsum(ok[order])[ends]
    return float(np.sum(np.diff(hits / ok.sum(), prepend=0.0) * hits / (ends + 1)))


def brier(judged: Judged) -> float:
    """Return the mean squared error of the probability."""
    return float(np.mean((judged.probability - judged.ok) ** 2))


def ece(judged: Judged) -> float:
    """Return the calibration error, ten bins."""
    return expected_calibration_error(judged.probability, judged.ok)


STATISTICS: Mapping[str, Callable[[Judged], float]] = {"pr_auc": pr_auc, "brier": brier, "ece": ece}


def interval(statistic: Callable[[Judged], float], judged: Judged) -> Interval:
    """Return a statistic with its 95 % interval, whole entities drawn with replacement."""
    return cluster_bootstrap(lambda rows: statistic(judged.only(rows)), judged.entity)


def beyond_noise(measured: Interval) -> float:
    """Return how much of a calibration error is surely no noise: the lower bound of its basic bootstrap interval.

    So few rows as one installation has make a calibration error of true probabilities too, and drawing them once more
    makes more of it; twice the value less the upper quantile takes both away (Davison & Hinkley 1997, 5.2). NaN where
    there is but one entity.
    """
    if np.isnan(measured.high):
        return float("nan")
    return max(2 * measured.value - measured.high, 0.0)


def evaluate(
    predictor: RetryPredictor, baselines: Mapping[str, RetryPredictor], test: "pd.DataFrame"
) -> "Evaluation":
    """Measure on the test rows of a feature table.

    Raises:
        ValueError: there are no test rows.
    """
    import pandas as pd

    from crewflow_assets.evaluation.plots import precision_recall_plot, reliability_plot
    from crewflow_assets.spec import Evaluation

    if test.empty:
        raise ValueError("the feature table has no test rows; post more retry_outcome events")
    rows, entity = examples_of(test), test["entity"].to_numpy(object)
    methods = {OURS: predictor, **{name: one for name, one in baselines.items() if one is not predictor}}
    judged = {
        name: Judged(one.probability(rows.context, rows.seconds), rows.ok, entity) for name, one in methods.items()
    }
    ours = judged[OURS]
    reliability = reliability_plot(
        ours.probability, ours.ok, title="retries: reliability", xlabel="said to succeed", ylabel="succeeded"
    )
    curves: dict[str, tuple[AnyFloats, AnyFloats]] = {name: (one.probability, one.ok) for name, one in judged.items()}
    return Evaluation(
        (*_figures(judged), *plan_figures(predictor, test)),
        plots={"reliability": reliability, "precision_recall": precision_recall_plot(curves, title="retries")},
        tables={
            "by_method": pd.DataFrame([_row(name, one) for name, one in judged.items()]),
            "by_delay": by_delay(ours, rows.seconds),
            "by_class": by_class(ours, test["error_class"].to_numpy(object)),
            "ways": pd.DataFrame([{"way": k, "log_loss": v} for k, v in predictor.compared.items()]),
        },
    )


def _row(name: str, judged: Judged) -> dict[str, object]:
    loss = log_loss(judged.probability, judged.ok)
    return {"method": name, "n": len(judged.ok), **{k: f(judged) for k, f in STATISTICS.items()}, "log_loss": loss}


def _figures(judged: Mapping[str, Judged]) -> "list[Figure]":
    from crewflow_assets.spec import Figure

    ours, n = judged[OURS], len(judged[OURS].ok)
    others = {name: one for name, one in judged.items() if name != OURS}
    best = min(others, key=lambda name: brier(others[name]))
    found = []
    for name, statistic in STATISTICS.items():
        measured = interval(statistic, ours)
        found.append(_figure(name, measured, n, best, statistic(others[best])))
        if statistic is ece:
            found.append(Figure(name="ece_beyond_noise", value=or_none(beyond_noise(measured)), n=n))
    gain = (others[best].probability - ours.ok) ** 2 - (ours.probability - ours.ok) ** 2
    found.append(_figure("brier_gain", cluster_mean(gain, ours.entity), n, best, 0.0))
    losses = {name: log_loss(one.probability, one.ok) for name, one in judged.items()}
    found.append(Figure(name="log_loss", value=losses[OURS], n=n, baseline=best, baseline_value=losses[best]))
    return found


def _figure(name: str, measured: Interval, n: int, baseline: str, value: float) -> "Figure":
    from crewflow_assets.spec import Figure

    return Figure(
        name=name,
        value=or_none(measured.value),
        low=or_none(measured.low),
        high=or_none(measured.high),
        n=n,
        baseline=baseline,
        baseline_value=or_none(value),
    )


def by_delay(judged: Judged, seconds: Floats) -> "pd.DataFrame":
    """Return the mean probability and the share that succeeded, by bucket of delays."""
    import pandas as pd

    bucket = bucket_of(seconds)
    rows = []
    for place in range(BUCKETS):
        mine = judged.only(bucket == place)
        if len(mine.ok):
            label = f"{EDGES[place]:.0f} to {EDGES[place + 1]:.0f} s"
            rows.append({"delay": label, "n": len(mine.ok), "said": mine.probability.mean(), "was": mine.ok.mean()})
    return pd.DataFrame(rows)


def by_class(judged: Judged, classes: Objects) -> "pd.DataFrame":
    """Return the mean probability and the share that succeeded, by error class."""
    import pandas as pd

    rows = []
    for name in sorted(set(classes)):
        mine = judged.only(classes == name)
        rows.append({"class": name, "n": len(mine.ok), "said": mine.probability.mean(), "was": mine.ok.mean()})
    return pd.DataFrame(rows)


def plan_figures(predictor: RetryPredictor, test: "pd.DataFrame") -> "list[Figure]":
    """Return what the next retry of a plan is worth by the logs, beside the logged one, given propensities.

    The plan is made as if no further retry were possible, and giving up costs nothing: what is logged of one retry
    says nothing of the next ones.
    """
    from crewflow_assets.spec import Figure

    values = Values(giving_up=0.0, exploration=0.0)
    prices = {"success": values.success, "call": values.call, "waiting": values.waiting}
    logged, kept = off_policy.logged_of(test, **prices)
    if not kept.any():
        return [Figure(name="plan_value", value=None, n=0)]
    rows = test[kept]
    failures = failures_of(rows)
    allowed = np.array([name not in NEVER for name in rows["error_class"]], bool)
    nothing = np.zeros((len(rows), BUCKETS))
    plans = plan(predictor, failures, values, np.zeros((len(rows), 3)), allowed=allowed, worth=nothing)
    policy = probabilities(plans, values, np.nan_to_num(failures.retry_after))
    found = off_policy.evaluate(logged, policy, off_policy.rewards(plans.curves, **prices))
    past = cluster_mean(logged.reward, logged.cluster)
    return [
        _figure("plan_value", found.doubly_robust, len(rows), "the logged delays", past.value),
        _figure("plan_value_ips", found.ips, len(rows), "the logged delays", past.value),
    ]


def failures_of(rows: "pd.DataFrame") -> Failures:
    """Return rows of a feature table as failures, from which a plan is made."""

    def column(name: str) -> Floats:
        return rows[name].to_numpy(float)

    return Failures(
        error_class=np.array([CLASSES.index(name) for name in rows["error_class"]], np.int64),
        system=rows["system"].to_numpy(object),
        attempts=column("attempts"),
        hour=column("hour"),
        latency=column("latency"),
        latency_24h=column("latency_24h"),
        status=column("status"),
        retry_after=column("retry_after"),
        since_first_failure=column("since_first_failure"),
        write=column("write"),
        idempotent=column("idempotent"),
        around={name: column(name) for name in SURROUNDINGS},
    )
