"""Drift: seldom seen where there is none, seen where there is, whatever weeks and companies share."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.drift import alarms, rate, year
from benchmarks.drift_worlds import WORLDS, simulate
from crewflow_assets.monitoring.blocks import MISSING, OTHER, Blocks, columns_of, described_blocks, residual_blocks
from crewflow_assets.monitoring.drift import ALPHA, Compared, compare

WEEKS = 12


def blocks_of(
    seed: int, *, moved: float = 0.0, shared: float = 0.0, companies: int = 15, rows: int = 8, **more: Any
) -> Blocks:
    """Return blocks of one number and one category; week 12 is the one that is looked at."""
    random = np.random.default_rng(seed)
    week, who = np.divmod(np.arange((WEEKS + 1) * companies * rows) // rows, companies)
    week_effect = random.normal(0, shared, WEEKS + 1) if shared else np.zeros(WEEKS + 1)
    number = random.normal(random.normal(0, 1, companies)[who] + week_effect[week] + moved * (week == WEEKS), 1)
    category = random.choice(np.array(["a", "b", "c"], object), len(week))
    columns: dict[str, NDArray[Any]] = {"number": number, "category": category}
    return described_blocks(columns, [f"c-{c}" for c in who], week.tolist(), week < WEEKS, **more)


def compared(blocks: Blocks, **more: Any) -> Compared:
    return compare(blocks, WEEKS, blocks.weeks < WEEKS, **({"draws": 399} | more))


def test_p_values_are_spread_evenly_where_nothing_drifts() -> None:
    found = np.array([compared(blocks_of(seed)).p_value for seed in range(60)], float)
    assert 0.25 < (found <= 0.5).mean() < 0.75
    assert (found <= 0.05).mean() <= 0.15


def test_what_weeks_share_is_no_drift() -> None:
    found = np.array([compared(blocks_of(seed, shared=0.6)).p_value for seed in range(40)], float)
    assert (found <= 0.05).mean() <= 0.15


def test_a_shift_is_seen_and_named() -> None:
    found = compared(blocks_of(1, moved=1.5), draws=1999)
    assert found.drifted
    assert found.p_value is not None
    assert found.p_value <= ALPHA
    assert found.statistic is not None
    assert found.threshold is not None
    assert found.statistic > found.threshold
    assert [one.group for one in found.differences] == ["number", "category"]
    assert found.differences[0].now > found.differences[0].before


def test_a_comparison_can_be_repeated() -> None:
    blocks = blocks_of(2)
    assert compared(blocks, draws=1999) == compared(blocks, draws=1999)


def week_with_a_stranger(seed: int, name: str, companies: int = 15, rows: int = 8) -> Blocks:
    """Return blocks in whose last week, in the place of company c-0, one of a name asks for what nobody else does."""
    random = np.random.default_rng(seed)
    week, who = np.divmod(np.arange((WEEKS + 1) * companies * rows) // rows, companies)
    stranger = (week == WEEKS) & (who == 0)
    number = random.normal(np.where(stranger, 4.0, random.normal(0, 1, companies)[who]), 1)
    names = [name if strange else f"c-{c}" for c, strange in zip(who, stranger, strict=True)]
    return described_blocks({"number": number}, names, week.tolist(), week < WEEKS)


@pytest.mark.parametrize("seed", range(6))
def test_one_new_company_is_no_drift_and_is_more_likely_to_differ_than_a_known_one(seed: int) -> None:
    new, known = (compared(week_with_a_stranger(seed, name), draws=1999) for name in ("c-new", "c-0"))
    assert not new.drifted
    assert new.statistic is not None
    assert known.statistic is not None
    assert new.p_value is not None
    assert known.p_value is not None
    assert new.p_value > known.p_value, "a reference that lacks it varies more"
    assert new.statistic < known.statistic


@pytest.mark.parametrize(("companies", "rows", "said"), [(3, 40, "8 companies"), (8, 1, "30 rows of 4 companies")])
def test_too_little_is_not_compared(companies: int, rows: int, said: str) -> None:
    found = compared(blocks_of(3, companies=companies, rows=rows))
    assert found.p_value is None
    assert not found.drifted
    assert said in (found.lacking or "")


def test_what_never_varies_is_left_out_and_what_is_missing_is_a_value() -> None:
    rows = [{"same": "x", "some": None if n % 2 else 1.0, "rare": "y" if n < 97 else str(n)} for n in range(100)]
    columns = columns_of(rows)
    found = described_blocks(columns, ["c-1"] * 100, [0] * 100, np.ones(100, bool))
    assert [name for name, _, _ in found.groups] == ["some", "rare"]
    assert MISSING in found.labels
    assert found.labels[-1] == OTHER
    assert found.means.sum() == pytest.approx(2.0), "the shares of a column add up to one"


def test_a_category_that_was_never_seen_is_another() -> None:
    columns = {"system": np.array(["sage"] * 50 + ["netsuite"] * 50, object)}
    weeks = [0] * 50 + [1] * 50
    found = described_blocks(columns, ["c-1"] * 100, weeks, np.array(weeks) == 0)
    assert found.labels == ("sage", OTHER)
    assert found.means.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_residuals_are_of_all_and_of_thirds() -> None:
    said = np.tile([0.1, 0.5, 0.9], 20)
    actual = np.tile([0.0, 1.0, 1.0], 20)
    weights = np.ones(60)
    found = residual_blocks(said, actual, weights, ["c-1"] * 60, [0] * 60, np.ones(60, bool))
    assert found.groups[0][0] == "all"
    assert found.means[0, 0] == pytest.approx((actual - said).mean())
    assert found.means[0, 1:].sum() == pytest.approx(found.means[0, 0]), "the thirds add up to all"


def test_a_row_that_stands_for_many_moves_the_mean_and_adds_no_certainty() -> None:
    said, actual = np.zeros(4), np.array([1.0, 0.0, 0.0, 0.0])
    heavy = residual_blocks(said, actual, np.array([20.0, 1, 1, 1]), ["c-1"] * 4, [0] * 4, np.ones(4, bool))
    light = residual_blocks(said, actual, np.ones(4), ["c-1"] * 4, [0] * 4, np.ones(4, bool))
    assert heavy.means[0, 0] > 0.8
    assert heavy.weights[0] < light.weights[0]


def test_an_alarm_is_told_once_until_it_was_quiet() -> None:
    assert alarms([30, 31, 33, 40, 41]) == [30, 40]
    assert alarms([]) == []


def test_rates_have_exact_intervals() -> None:
    value, low, high = rate(0, 10)
    assert (value, low) == (0.0, 0.0)
    assert high == pytest.approx(0.3689, abs=1e-3)


def test_the_benchmark_runs_and_its_worlds_repeat() -> None:
    assert year(WORLDS[0], 3, weeks=1).compared == 3
    one, other = (simulate(WORLDS[2], 10, 3) for _ in range(2))
    assert np.array_equal(one.said, other.said)
    assert not np.array_equal(one.said[:50], simulate(WORLDS[2], 10, 4).said[:50])
