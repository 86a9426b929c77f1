"""The simulated experiments in small: error and power, and that the methods are told apart."""

import numpy as np
import pytest

from benchmarks.experiments import measure
from benchmarks.experiments_figures import OURS, PEEKED, ROWS, error_table, power_table, ratio_table, rule_table
from benchmarks.experiments_world import DAYS, World, draw

EXPERIMENTS = 300


def test_sums_grow_by_day_and_repeat_by_seed() -> None:
    world = World(metric="time", companies=12)
    one, again, other = (draw(world, 3, seed=(seed,)) for seed in (1, 1, 2))
    assert one.count.shape == (3, DAYS, 12)
    assert (np.diff(one.count, axis=1) >= 0).all()
    assert np.array_equal(one.total, again.total)
    assert not np.array_equal(one.total, other.total)


@pytest.mark.parametrize("metric", ["share", "time"])
def test_without_a_difference_ours_errs_rarely_and_peeking_often(metric: str) -> None:
    world = World(metric=metric, companies=60)  # type: ignore[arg-type]  # the two kinds
    [record] = measure((world,), EXPERIMENTS, seed=3, progress=False)
    assert record.found[OURS] / EXPERIMENTS <= 0.05
    assert record.found[PEEKED] / EXPERIMENTS > 0.10
    assert record.found[ROWS] / EXPERIMENTS > 0.30
    assert "| time" in error_table([record]) or "share right" in error_table([record])


def test_a_large_difference_is_found_in_its_direction() -> None:
    worlds = tuple(World(metric="share", companies=200, effect=effect) for effect in (0.15, -0.15))
    for record in measure(worlds, 60, seed=4, progress=False):
        assert record.better[OURS] >= 55
        assert record.found[OURS] - record.better[OURS] <= 1
        assert 1 <= np.median(record.days) <= 20
    assert "median day" in power_table(measure(worlds[:1], 20, seed=4, progress=False))


def test_the_other_tables() -> None:
    assert rule_table(20, seed=1).count("\n") == 4
    assert ratio_table(20, seed=1).count("\n") == 4
