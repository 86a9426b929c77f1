"""What a policy would have been worth, from retries that another policy made and whose propensities were logged.

One decision is judged at a time: the delay of the next retry after a failure, among the buckets, or none. Its reward
is that of the retry alone; what a later retry brings is judged at that later decision. Estimates are those of
Horvitz & Thompson 1952 (inverse propensity), Hájek's self-normalised one (Swaminathan & Joachims 2015), and the
doubly robust one (Dudík, Langford & Li 2011), which is right if either the propensities or the model are.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Floats, Ints, Objects
from crewflow_assets.evaluation.intervals import Interval, cluster_bootstrap, cluster_mean
from crewflow_assets.retry_strategy.delays import BUCKETS, DELAYS, bucket_of


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """Retries that were made, one element each.

    Attributes:
        bucket: Of the delay that was chosen, 0 to BUCKETS − 1.
        propensity: With which it was chosen, above 0.
        reward: That came of it.
        cluster: Integration, by which intervals are drawn.
    """

    bucket: Ints
    propensity: Floats
    reward: Floats
    cluster: Objects

    def __post_init__(self) -> None:
        """Refuse propensities that nothing can be divided by.

        Raises:
            ValueError: one is not above 0, or above 1.
        """
        wrong = np.flatnonzero(~((self.propensity > 0) & (self.propensity <= 1)))
        if len(wrong):
            raise ValueError(
                f"row {wrong[0]} has the propensity {self.propensity[wrong[0]]}; leave out rows without one above 0"
            )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A policy's value a decision by three estimates with 95 % intervals, and how many rows it really rests on."""

    ips: Interval
    self_normalised: Interval
    doubly_robust: Interval
    effective_rows: float


def logged_of(table: pd.DataFrame, *, success: float, call: float, waiting: float) -> tuple[Logged, Bools]:
    """Return the rows of a feature table that have a propensity, and which these are.

    The reward is success where it succeeded, minus the call and the hours waited.
    """
    kept = (table["propensity"] > 0).to_numpy(bool)
    rows = table[kept]
    seconds = rows["delay_seconds"].to_numpy(float)
    reward = success * rows["label"].to_numpy(float) - call - waiting * seconds / 3600
    logged = Logged(bucket_of(seconds), rows["propensity"].to_numpy(float), reward, rows["entity"].to_numpy(object))
    return logged, kept


def rewards(curves: Floats, *, success: float, call: float, waiting: float) -> Floats:
    """Return the reward that a model expects of each bucket, shape (n, BUCKETS), of the probabilities of success."""
    return np.asarray(curves * success - call - waiting * DELAYS / 3600)


def evaluate(logged: Logged, policy: Floats, expected: Floats) -> Estimate:
    """Judge a policy.

    Args:
        logged: What was logged.
        policy: Probability with which it chooses each bucket, shape (n, BUCKETS); what lacks to 1 is giving up,
            which is worth 0.
        expected: Reward of each bucket by a model, of any quality, not fitted on these rows, shape (n, BUCKETS).

    Raises:
        ValueError: the shapes do not fit, or a row's probabilities come to more than 1.
    """
    n = len(logged.bucket)
    for name, given in (("policy", policy), ("expected", expected)):
        if given.shape != (n, BUCKETS):
            raise ValueError(f"{name} has the shape {given.shape}; it takes {(n, BUCKETS)}")
    if policy.min(initial=0) < 0 or policy.sum(axis=1).max(initial=0) > 1 + 1e-6:
        raise ValueError("a row of the policy has a probability below 0, or in all above 1; give probabilities")
    rows = np.arange(n)
    weight = policy[rows, logged.bucket] / logged.propensity
    direct = (policy * expected).sum(axis=1)
    robust = direct + weight * (logged.reward - expected[rows, logged.bucket])
    retried = float(policy.sum(axis=1).mean())

    def normalised(places: Ints) -> float:
        total = weight[places].sum()
        return retried * float((weight * logged.reward)[places].sum() / total) if total > 0 else float("nan")

    if weight.any():
        hajek = cluster_bootstrap(normalised, logged.cluster)
    else:  # nothing that the policy would do was ever logged; never retrying is worth 0 all the same
        hajek = Interval(0.0, 0.0, 0.0) if retried == 0 else Interval(*[float("nan")] * 3)
    return Estimate(
        ips=cluster_mean(weight * logged.reward, logged.cluster),
        self_normalised=hajek,
        doubly_robust=cluster_mean(robust, logged.cluster),
        effective_rows=float(weight.sum() ** 2 / np.maximum((weight**2).sum(), 1e-12)),
    )
