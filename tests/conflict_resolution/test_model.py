"""The conflict model: calibration, thresholds, and what is never automatic."""

import json
from pathlib import Path

import numpy as np
import pytest

from crewflow_assets.arrays import AnyFloats, Ints, Objects, Singles
from crewflow_assets.conflict_resolution.features import COLUMN, FEATURES
from crewflow_assets.conflict_resolution.model import (
    FILE,
    LEAST_CONFIDENCE,
    MANUAL,
    Calibration,
    ConflictPredictor,
    fit,
    fit_calibration,
    folds_of,
    thresholds_by_type,
)
from crewflow_assets.errors import OutdatedModelError

Rows = Singles
Labels = Ints
Names = Objects

HOURS = "hours_mismatch"


def world(n: int = 900, groups: int = 60) -> tuple[Rows, Labels, Names, Names]:
    """Where the lunch is deducted people take the external value, where hours are doubled they decide themselves."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(n, len(FEATURES))).astype(np.float32)
    kind = random.integers(0, 3, size=n)
    rows[:, COLUMN["lunch"]], rows[:, COLUMN["doubled"]] = kind == 1, kind == 2
    noise = random.random(n) < 0.02
    labels = np.where(noise, random.integers(0, 3, size=n), kind)
    names = np.array([f"c-{i}" for i in range(groups)], object)[random.integers(0, groups, size=n)]
    return rows, labels, names, np.full(n, HOURS, object)


@pytest.fixture(scope="module")
def fitted() -> ConflictPredictor:
    return fit(*world(), seed=0)


def test_what_is_clear_is_automatic_and_a_predicted_manual_never(fitted: ConflictPredictor) -> None:
    rows, labels, _, types = world()
    probability = fitted.probability(rows)
    automatic = fitted.automatic(probability, types)
    assert probability.sum(axis=1) == pytest.approx(1)
    assert automatic[labels != MANUAL].mean() > 0.9
    assert not automatic[probability.argmax(axis=1) == MANUAL].any()
    assert (probability.argmax(axis=1) == MANUAL).any()
    limit = fitted.thresholds[HOURS]
    assert limit is not None
    assert limit >= LEAST_CONFIDENCE


def test_a_type_that_was_never_seen_is_never_automatic(fitted: ConflictPredictor) -> None:
    rows, _, _, types = world()
    assert not fitted.automatic(fitted.probability(rows), np.full(len(types), "duplicate", object)).any()


def test_contributions_point_at_what_matters(fitted: ConflictPredictor) -> None:
    rows, labels, _, _ = world()
    towards_external = fitted.contributions(rows[labels == 1])[:, 1].mean(axis=0)
    assert int(towards_external.argmax()) == COLUMN["lunch"]


def test_saved_and_loaded_it_says_the_same(fitted: ConflictPredictor, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    rows = world()[0][:50]
    assert ConflictPredictor.load(tmp_path).probability(rows) == pytest.approx(fitted.probability(rows))
    content = json.loads((tmp_path / FILE).read_text())
    content["features"][0] = "gone"
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(OutdatedModelError, match="'gone'"):
        ConflictPredictor.load(tmp_path)


def test_the_same_seed_gives_the_same_model() -> None:
    rows = world()[0][:50]
    one, same, other = (fit(*world(150, 30), seed=seed).probability(rows) for seed in (0, 0, 1))
    assert one == pytest.approx(same)
    assert one != pytest.approx(other)


@pytest.mark.parametrize(
    ("rows", "groups", "says"), [(30, 20, "30 decisions of"), (400, 4, "of 4 companies are too few")]
)
def test_too_little_is_refused(rows: int, groups: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(*world(rows, groups), seed=0)


def test_one_resolution_alone_teaches_nothing() -> None:
    rows, labels, groups, types = world()
    with pytest.raises(ValueError, match="every decision is 'use_external'"):
        fit(rows, np.ones_like(labels), groups, types, seed=0)


def test_groups_are_never_parted() -> None:
    groups = world()[2]
    fold = folds_of(groups, seed=0)
    assert all(len(set(fold[groups == name])) == 1 for name in set(groups))
    assert set(fold) == {0, 1, 2, 3, 4}


def said_and_right(n: int, groups: int, said: float, share: float) -> tuple[AnyFloats, Labels, Names]:
    probability = np.tile([said, (1 - said) / 2, (1 - said) / 2], (n, 1))
    labels = (np.arange(n) >= share * n).astype(int)
    names = np.array([f"c-{i % groups}" for i in range(n)], object)
    return probability, labels, names


def test_overconfidence_is_taken_back() -> None:
    probability, labels, groups = said_and_right(2000, 200, said=0.97, share=0.85)
    calibrated = fit_calibration(probability, labels, groups, seed=0)(probability)
    assert calibrated[0, 0] == pytest.approx(0.85, abs=0.02)


def test_few_groups_give_less_confidence_than_many() -> None:
    sure = np.array([[0.98, 0.01, 0.01]])
    few, many = (Calibration(np.ones(1), groups)(sure)[0, 0] for groups in (10, 1000))
    assert few < many < 0.98
    one, lots = (
        fit_calibration(*said_and_right(size, groups, said=0.98, share=1.0), seed=0)(sure)[0, 0]
        for size, groups in ((20, 10), (2000, 1000))
    )
    assert one < lots


def thresholds(n: int, groups: int, *, said: float, share: float) -> float | None:
    probability, labels, names = said_and_right(n, groups, said=said, share=share)
    return thresholds_by_type(probability, labels, names, np.full(n, HOURS, object))[HOURS]


def test_automatic_from_enough_groups_that_are_right_and_sure() -> None:
    assert thresholds(900, 300, said=0.97, share=0.97) == pytest.approx(0.97)


@pytest.mark.parametrize(
    ("n", "groups", "said", "share"),
    [
        (900, 300, 0.97, 0.93),  # right too seldom
        (60, 6, 0.97, 1.0),  # six groups without a mistake prove nothing
        (900, 300, 0.89, 1.0),  # right, but not sure
        (900, 2, 0.97, 0.99),  # two groups
    ],
)
def test_otherwise_nothing_is(n: int, groups: int, said: float, share: float) -> None:
    assert thresholds(n, groups, said=said, share=share) is None
