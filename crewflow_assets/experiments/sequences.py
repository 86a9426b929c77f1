"""Intervals for the difference of two arms that hold however often one looks: an always-valid confidence sequence.

The unit is the company. An arm's mean is that of its companies' means, so a company counts once however much it
decides, and the variance is that between companies. For the same companies at two looks the covariance of the
earlier and the later difference is the variance of the later one, however much each company decided: the difference
moves through its information (one over its variance) as Brownian motion does (Scharfstein, Tsiatis & Robins 1997,
doi 10.1080/01621459.1997.10473655); companies that join in between make this an approximation. The normal mixture
over a prior N(0, ``scale``²) is then a martingale where there is no difference, and by Ville's inequality exceeds
1 / alpha at any look with probability alpha at most (Robbins 1970; the two-sided normal mixture of Howard, Ramdas,
McAuliffe & Sekhon 2021, doi 10.1214/20-AOS1991). The variance is estimated, so this is an asymptotic confidence
sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, doi 10.1214/24-AOS2408): it holds as companies become
many. For few, Student's distribution takes the place of the normal one at the same tail probability, with Welch's
degrees of freedom.

Half of the error allowed is spent on the looks, half is kept for the last one, whose moment is fixed when the
experiment starts: there a t-interval at that half holds too, and the narrower of both stands. By the union bound all
of it together errs no more often than allowed. ``python -m benchmarks.experiments`` measures how often that is.
"""

from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Bools, Floats

LEVEL = 0.05
"""Probability, over all looks, metrics and arms of an experiment, that an interval misses the truth."""
KEPT = 0.5
"""Share of the level that is kept for the last look."""
FEWEST_COMPANIES = 10
"""Companies with an outcome that each arm needs before there is an interval: below, variances mean little."""
FURTHEST = 35.0
"""Normal quantile beyond which tail probabilities cannot be told from 0; reached while next to nothing is known."""


@dataclass(frozen=True, slots=True)
class ArmMean:
    """The mean of an arm's companies, the variance of that mean, and how many companies; one each a look."""

    value: Floats
    variance: Floats
    companies: Floats


@dataclass(frozen=True, slots=True)
class Difference:
    """Treatment minus control with the bounds that hold at every look at once; NaN while companies are too few."""

    value: Floats
    low: Floats
    high: Floats


def arm_mean(means: Floats, present: Bools, *, least_spread: float) -> ArmMean:
    """Average the companies' means over the last axis.

    Args:
        means: Each company's mean, of shape (…, companies); what is not present is ignored.
        present: Whether the company is of this arm and has an outcome; same shape.
        least_spread: Standard deviation between companies below which the estimate is not believed: a handful of
            companies that are right every time vary by nothing, and an interval without width would follow.
    """
    count = present.sum(axis=-1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(present, means, 0.0).sum(axis=-1) / count
        squares = np.where(present, (means - value[..., None]) ** 2, 0.0).sum(axis=-1)
        spread = np.maximum(squares / (count - 1), least_spread**2)
        return ArmMean(value, spread / count, count)


def difference(
    control: ArmMean, treatment: ArmMean, *, scale: float, alpha: float, last: Bools | bool = False
) -> Difference:
    """Return the treatment's mean minus the control's with its always-valid bounds.

    Args:
        control: One arm.
        treatment: The other.
        scale: The size of difference for which the bounds are tightest, in the metric's unit; fixed beforehand.
        alpha: Probability that the bounds miss the true difference at any look.
        last: Whether this is the look at the end that was fixed at the start; there is one.
    """
    from scipy import stats

    enough = np.minimum(control.companies, treatment.companies) >= FEWEST_COMPANIES
    value = np.where(enough, treatment.value - control.value, np.nan)
    variance = np.where(enough, treatment.variance + control.variance, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance**2 / (
            control.variance**2 / (control.companies - 1) + treatment.variance**2 / (treatment.companies - 1)
        )
    width = radius(variance, freedom, scale=scale, alpha=(1 - KEPT) * alpha)
    single = stats.t.isf(KEPT * alpha / 2, freedom) * np.sqrt(variance)
    width = np.where(last, np.minimum(width, single), width)
    return Difference(value, value - width, value + width)


def radius(variance: Floats, freedom: Floats, *, scale: float, alpha: float) -> Floats:
    """Return half the width of the normal mixture's confidence sequence, in Student's form; NaN stays NaN.

    Args:
        variance: Of the difference.
        freedom: Its degrees of freedom.
        scale: Standard deviation of the mixture.
        alpha: Probability of a miss over all looks.
    """
    from scipy import stats

    information = scale**2 / variance
    normal = np.sqrt((1 + 1 / information) * (np.log1p(information) - 2 * np.log(alpha)))
    quantile: Floats = stats.t.isf(stats.norm.sf(np.minimum(normal, FURTHEST)), freedom)
    beyond = quantile < 0  # scipy answers −inf where few degrees of freedom put the quantile beyond its numbers
    return np.where(beyond, np.inf, quantile) * np.sqrt(variance)
