import numpy as np
import pytest

from crewflow_assets.twin.sync.throttling import Limits


def limits(others: float, used: float = 0.0, per_day: float = np.inf, size: int = 1) -> Limits:
    return Limits(
        per_minute=np.full(size, 500.0),
        per_day=np.full(size, per_day),
        pace=np.full(size, 150.0),
        patience=np.full(size, 5.0),
        others=np.full(size, others),
        used=np.full(size, used),
    )


@pytest.mark.parametrize(("others", "needed"), [(300.0, 30.0), (450.0, 30.0), (500.0, 30.0), (400.0, 600.0)])
def test_the_chance_of_hitting_the_limit_is_how_often_it_is_hit(others: float, needed: float) -> None:
    size = 20_000
    normal = np.random.default_rng(1).standard_normal(size)
    stopped, made, hits = limits(others, size=size).run(np.full(size, needed), normal)
    chance = limits(others).chance_of_hitting(np.array([needed]))[0]
    assert abs(stopped.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / size) + 1e-9
    assert (made[~stopped] == needed).all()
    assert (made[stopped] < needed).all()
    assert (hits[stopped] >= 1).all()


def test_without_other_apps_nothing_stops_a_small_sync_and_nothing_is_refused() -> None:
    stopped, made, hits = limits(0.0).run(np.array([30.0]), np.array([3.0]))
    assert (stopped[0], made[0], hits[0]) == (False, 30.0, 0.0)
    assert limits(0.0).chance_of_hitting(np.array([30.0]))[0] == 0


def test_more_calls_than_a_minute_allows_within_the_patience_never_pass() -> None:
    assert limits(0.0).chance_of_hitting(np.array([2501.0]))[0] == 1
    assert limits(0.0).run(np.array([2501.0]), np.array([0.0]))[0][0]


def test_a_day_that_is_used_up_stops_every_sync_and_what_is_left_is_made() -> None:
    full = limits(0.0, used=2490.0, per_day=2500.0)
    assert full.chance_of_hitting(np.array([30.0]))[0] == 1
    stopped, made, _ = full.run(np.array([30.0]), np.array([0.0]))
    assert stopped[0]
    assert made[0] == 10


def test_calls_are_refused_before_a_sync_is_stopped() -> None:
    stopped, _, hits = limits(480.0).run(np.array([30.0]), np.array([0.0]))
    assert not stopped[0]
    assert hits[0] > 0
