"""Whether the arms hold as many companies as they should: a sample-ratio test that holds at every look.

A wrong ratio means that companies are lost or moved on one side, and then no difference between arms means anything.
Pearson's chi-square looked at daily alarms too often; the sequential multinomial test of Lindon & Malek (2022,
"Anytime-valid inference for multinomial count data", NeurIPS 35) does not: its Bayes factor against the planned
shares, with a Dirichlet prior around them, is a martingale while the shares are as planned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

ALARM = 0.01
"""Probability of a false alarm over all looks, for each set of counts."""
CONCENTRATION = 50.0
"""Weight of the prior in companies: shares that are off by some .07 are found soonest."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The test at one look; ``p_value`` is always valid, so the smallest over the looks so far counts."""

    p_value: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong that this test could tell."""
        return self.p_value > ALARM


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> SampleRatio:
    """Test the companies of each arm against the shares planned.

    Args:
        counts: Companies by arm.
        shares: Planned shares by arm, each above 0, with the sum 1.
    """
    weights = [CONCENTRATION * share for share in shares]
    total = sum(counts)
    evidence = lgamma(CONCENTRATION) - lgamma(CONCENTRATION + total)
    for count, weight, share in zip(counts, weights, shares, strict=True):
        evidence += lgamma(weight + count) - lgamma(weight) - count * log(share)
    return SampleRatio(exp(-max(evidence, 0.0)))
