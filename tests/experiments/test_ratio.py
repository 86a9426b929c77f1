"""The sample-ratio test: what it finds, and that looking at every company does not make it err."""

from itertools import pairwise

import numpy as np
import pytest

from crewflow_assets.experiments.ratio import ALARM, sample_ratio


@pytest.mark.parametrize(
    ("counts", "shares", "ok"),
    [
        ((0, 0), (0.5, 0.5), True),
        ((100, 100), (0.5, 0.5), True),
        ((110, 90), (0.5, 0.5), True),
        ((160, 40), (0.8, 0.2), True),
        ((140, 60), (0.5, 0.5), False),
        ((100, 100), (0.8, 0.2), False),
        ((0, 40), (0.5, 0.5), False),
        ((100, 100, 20), (0.4, 0.4, 0.2), False),
    ],
)
def test_counts(counts: tuple[int, ...], shares: tuple[float, ...], ok: bool) -> None:
    assert sample_ratio(counts, shares).ok is ok


def test_more_companies_at_the_same_wrong_ratio_are_more_evidence() -> None:
    found = [sample_ratio((6 * n, 4 * n), (0.5, 0.5)).p_value for n in (1, 10, 30, 100)]
    assert all(later < earlier for earlier, later in pairwise(found[1:]))
    assert found[0] == 1.0


def test_looking_after_every_company_alarms_no_more_often_than_promised() -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        treated = (random.random(150) < 0.5).cumsum()
        alarms += any(not sample_ratio((n + 1 - t, t), (0.5, 0.5)).ok for n, t in enumerate(treated.tolist()))
    assert alarms <= 3 * ALARM * 400
