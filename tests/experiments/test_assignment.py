"""Assignment: the same arm every time, in the planned shares, independent of other experiments and of the folds."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.experiments.assignment import arm_of
from crewflow_assets.experiments.ledger import Arm

HALVES = (Arm("control", "1.0", 50.0), Arm("treatment", "1.1", 50.0))
COMPANIES = [f"c-{number}" for number in range(20_000)]


@given(salt=st.text(max_size=20), company=st.text(min_size=1, max_size=100))
def test_it_is_the_same_every_time(salt: str, company: str) -> None:
    assert arm_of(salt, HALVES, company) == arm_of(salt, HALVES, company)


def test_it_is_the_same_in_another_process() -> None:
    script = (
        "from crewflow_assets.experiments.assignment import arm_of\n"
        "from crewflow_assets.experiments.ledger import Arm\n"
        "arms = (Arm('control', '1.0', 50.0), Arm('treatment', '1.1', 50.0))\n"
        "print(','.join(arm_of('s', arms, f'c-{n}') for n in range(50)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().split(",") == [arm_of("s", HALVES, company) for company in COMPANIES[:50]]


@pytest.mark.parametrize("percents", [(50.0, 50.0), (90.0, 10.0), (33.3, 33.3, 33.4), (99.5, 0.5)])
def test_the_shares_are_honoured(percents: tuple[float, ...]) -> None:
    arms = [Arm(f"arm-{place}", "1.0", percent) for place, percent in enumerate(percents)]
    counts = Counter(arm_of("salt", arms, company) for company in COMPANIES)
    for arm in arms:
        share = arm.percent / 100
        spread = (share * (1 - share) / len(COMPANIES)) ** 0.5
        assert counts[arm.name] / len(COMPANIES) == pytest.approx(share, abs=4 * spread)


def test_experiments_and_folds_are_independent() -> None:
    first = [arm_of("one", HALVES, company) == "treatment" for company in COMPANIES]
    second = [arm_of("two", HALVES, company) == "treatment" for company in COMPANIES]
    tested = [fold_of(company) == "test" for company in COMPANIES]
    both = sum(a and b for a, b in zip(first, second, strict=True)) / len(COMPANIES)
    in_test = sum(a and b for a, b in zip(first, tested, strict=True)) / sum(tested)
    assert both == pytest.approx(0.25, abs=0.015)
    assert in_test == pytest.approx(0.5, abs=0.03)
