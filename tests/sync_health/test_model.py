"""The trees and their calibration: saved without loss, explained exactly, and honest about what they cannot know."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from crewflow_assets.errors import NotReadyError
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.features import COLUMN, FEATURES, columns_of, feature_rows
from crewflow_assets.sync_health.model import (
    Calibration,
    Floats,
    SyncHealthPredictor,
    Trees,
    choose_calibration,
    fit,
    fit_calibration,
)
from tests.sync_health.syncs import attempts, history, statuses


@cache
def training() -> tuple[np.ndarray, Floats, Floats]:
    found = columns_of(describe(attempts(history(seed=1, integrations=20, days=14)), statuses()))
    order = np.argsort(found["micros"], kind="stable")
    return feature_rows(found)[order], found["failed"][order], found["micros"][order]


@cache
def fitted() -> SyncHealthPredictor:
    return fit(*training(), seed=7)


def test_what_follows_failures_is_at_more_risk() -> None:
    rows, failed, _ = training()
    said = fitted().full.probability(rows)
    failing = rows[:, COLUMN["failures_in_a_row"]] > 0
    assert said[failing].mean() > 0.6 > 0.1 > said[~failing].mean()
    assert abs(said.mean() - failed.mean()) < 0.02


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    rows = training()[0][:200]
    fitted().save(tmp_path)
    loaded = SyncHealthPredictor.load(tmp_path)
    for mine, theirs in ((fitted().full, loaded.full), (fitted().given, loaded.given)):
        np.testing.assert_array_equal(mine.probability(rows), theirs.probability(rows))
    assert {file.suffix for file in tmp_path.iterdir()} == {".ubj", ".json"}


def test_the_same_seed_fits_the_same_model() -> None:
    rows = training()[0]
    np.testing.assert_array_equal(fit(*training(), seed=7).full.probability(rows), fitted().full.probability(rows))


def test_a_model_on_features_that_are_gone_asks_for_training(tmp_path: Path) -> None:
    fitted().save(tmp_path)
    file = tmp_path / "full.json"
    file.write_text(file.read_text().replace("hours_since_ok", "moon_phase"))
    with pytest.raises(NotReadyError, match="'moon_phase', which is no longer built; train anew"):
        SyncHealthPredictor.load(tmp_path)


def test_contributions_add_up_to_the_log_odds() -> None:
    trees = fitted().full
    rows = training()[0][::50]
    bare = Trees(trees.booster, trees.features, Calibration("none"))
    odds = logit(bare.probability(rows))
    rest = odds - trees.contributions(rows).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-3)


def test_the_smaller_model_looks_at_nothing_but_what_a_request_carries() -> None:
    rows = training()[0][:50].copy()
    before = fitted().given.probability(rows)
    rows[:, [COLUMN[name] for name in FEATURES if name not in fitted().given.features]] = np.nan
    np.testing.assert_array_equal(fitted().given.probability(rows), before)


def test_too_few_failures_are_named() -> None:
    rows, failed, micros = training()
    with pytest.raises(ValueError, match="the earlier part of the training time has 0 failures in"):
        fit(rows, np.zeros_like(failed), micros, seed=7)


def test_a_calibration_is_chosen_only_where_it_does_better() -> None:
    random = np.random.default_rng(0)
    true = random.beta(0.4, 4, 20_000)
    failed = (random.random(20_000) < true).astype(float)
    when = np.arange(20_000.0)
    too_sure = Calibration("logistic", (2.5, 0.0))(true)
    repaired = choose_calibration(too_sure, failed, when)(too_sure)
    assert np.mean((repaired - true) ** 2) < 0.1 * np.mean((too_sure - true) ** 2)
    kept = choose_calibration(np.clip(true, 1e-4, 1), failed, when)
    assert np.mean((kept(true) - true) ** 2) < 1e-3


def test_no_calibration_promises_anything() -> None:
    said = np.array([0.0, 1e-9, 0.5, 1.0])
    for kind in ("none", "logistic", "isotonic"):
        line = fit_calibration(kind, np.array([0.0, 0.2, 0.8, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
        assert (line(said) > 0).all()
        assert (line(said) < 1).all()
