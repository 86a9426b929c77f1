"""The cluster bootstrap, on data of known distributions."""

import numpy as np
import pytest

from crewflow_assets.arrays import Floats, Objects
from crewflow_assets.evaluation.intervals import cluster_mean

Arrays = tuple[Floats, Objects]


def clustered(rng: np.random.Generator, *, mean: float, between: float, within: float, clusters: int = 50) -> Arrays:
    """Draw rows of 20 a cluster whose cluster means scatter around ``mean``."""
    centre = rng.normal(mean, between, clusters)
    scores = rng.normal(np.repeat(centre, 20), within)
    return scores, np.repeat(np.array([f"c-{i}" for i in range(clusters)], object), 20)


def test_the_interval_covers_the_true_mean_of_clustered_data_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for seed in range(400):
        found = cluster_mean(*clustered(rng, mean=0.7, between=0.3, within=0.3), seed=seed)
        covered += found.low <= 0.7 <= found.high
    assert 0.915 <= covered / 400 <= 0.975  # 95 % ± 2.2 % is two standard errors of 400 trials


def test_ignoring_the_clusters_would_cover_far_too_seldom() -> None:
    rng = np.random.default_rng(12)
    covered = 0
    for seed in range(100):
        scores, _ = clustered(rng, mean=0.7, between=0.3, within=0.3)
        found = cluster_mean(scores, np.arange(len(scores)).astype(object), seed=seed)
        covered += found.low <= 0.7 <= found.high
    assert covered < 60


def test_large_clusters_weigh_by_their_rows() -> None:
    scores = np.array([1.0] * 90 + [0.0] * 10)
    clusters = np.array(["large"] * 90 + ["small"] * 10, object)
    assert cluster_mean(scores, clusters).value == pytest.approx(0.9)


def test_equal_clusters_leave_no_doubt() -> None:
    found = cluster_mean(np.array([0.0, 1.0] * 5), np.repeat(np.arange(5).astype(object), 2))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_one_cluster_has_a_mean_but_no_interval() -> None:
    found = cluster_mean(np.array([1.0, 0.0]), np.array(["a", "a"], object))
    assert found.value == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    data = clustered(np.random.default_rng(3), mean=0.5, between=0.1, within=0.1)
    assert cluster_mean(*data, seed=1) == cluster_mean(*data, seed=1)
    assert cluster_mean(*data, seed=1) != cluster_mean(*data, seed=2)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        cluster_mean(np.array([]), np.array([], object))
