"""The model and its calibration: saved without loss, explained exactly, and honest about what it cannot know."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from crewflow_assets.arrays import AnyFloats
from crewflow_assets.errors import OutdatedModelError
from crewflow_assets.sync_health.baselines import BASELINES
from crewflow_assets.sync_health.calibration import Calibration, choose_calibration, fit_logistic
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.features import COLUMN, FEATURES, columns_of, feature_rows
from crewflow_assets.sync_health.model import TREES_SHARE, FailureModel, SyncHealthPredictor, fit, fit_model
from crewflow_assets.sync_health.regression import MOST_STEPS, STRENGTH, Regression, fit_regression
from tests.sync_health.syncs import attempts, history, statuses


@cache
def training() -> tuple[np.ndarray, AnyFloats, AnyFloats]:
    found = columns_of(describe(attempts(history(seed=1, integrations=20, days=14)), statuses()))
    order = np.argsort(found["micros"], kind="stable")
    return feature_rows(found)[order], found["failed"][order], found["micros"][order]


@cache
def fitted() -> SyncHealthPredictor:
    return fit(*training(), seed=7)


def without(part: str | None) -> FailureModel:
    """Return the fitted model without one of its parts."""
    model = fitted().full
    if part is None:
        return model
    return replace(model, booster=None) if part == "booster" else replace(model, regression=None)


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
    with pytest.raises(OutdatedModelError, match="'moon_phase', which is no longer built; train anew"):
        SyncHealthPredictor.load(tmp_path)


@pytest.mark.parametrize("calibration", [Calibration("none"), Calibration("logistic", (0.7, -0.2))])
@pytest.mark.parametrize("left_out", [None, "booster", "regression"])
def test_contributions_add_up_to_the_calibrated_log_odds(left_out: str | None, calibration: Calibration) -> None:
    model = replace(without(left_out), calibration=calibration)
    rows = training()[0][::50]
    said = model.probability(rows)
    inside = (said > 2e-4) & (said < 1 - 2e-4)  # nothing is said to be surer
    assert inside.sum() > 20
    rest = logit(said) - model.contributions(rows).sum(axis=1)
    np.testing.assert_allclose(rest[inside], rest[inside][0], atol=1e-3)


def test_the_log_odds_are_the_parts_with_their_shares() -> None:
    model, rows = fitted().full, training()[0][::50]
    trees, regression = (without(part).log_odds(rows) for part in ("regression", "booster"))
    assert np.abs(trees - regression).max() > 0.1
    np.testing.assert_allclose(model.log_odds(rows), TREES_SHARE * trees + (1 - TREES_SHARE) * regression)


def test_the_regression_is_the_usual_librarys(tmp_path: Path) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    rows, failed, _ = training()
    usual = make_pipeline(
        FunctionTransformer(lambda x: np.sign(x) * np.log1p(np.abs(x.astype(float)))),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS),
    ).fit(rows, failed)
    mine = fit_regression(rows, failed, seed=7)
    np.testing.assert_allclose(mine.log_odds(rows), usual.decision_function(rows), atol=2e-2)
    np.testing.assert_allclose(mine.contributions(rows).mean(axis=0), 0, atol=1e-9)
    again = Regression.from_json(json.loads(json.dumps(mine.as_json())))
    np.testing.assert_array_equal(again.log_odds(rows), mine.log_odds(rows))


def test_the_regression_alone_can_stand_in(tmp_path: Path) -> None:
    using, settings = BASELINES["logistic regression"]
    predictor = fit(*training(), seed=7, full=using, **settings)
    assert predictor.full.booster is None
    predictor.save(tmp_path)
    rows = training()[0][:100]
    loaded = SyncHealthPredictor.load(tmp_path)
    np.testing.assert_array_equal(loaded.full.probability(rows), predictor.full.probability(rows))
    assert loaded.full.contributions(rows).any()


def test_a_version_of_trees_alone_is_still_read(tmp_path: Path) -> None:
    trees = fit_model(*training(), FEATURES, seed=7, parts=("trees",))
    trees = replace(trees, calibration=Calibration("isotonic", (0.0, 0.1, 1.0), (0.0, 0.3, 1.0)))
    trees.save(tmp_path, "full")
    content = json.loads((tmp_path / "full.json").read_text())
    del content["regression"]
    (tmp_path / "full.json").write_text(json.dumps(content))
    rows = training()[0][:100]
    np.testing.assert_array_equal(FailureModel.load(tmp_path, "full").probability(rows), trees.probability(rows))


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
    assert (np.argsort(repaired) == np.argsort(too_sure)).all()
    assert np.mean((repaired - true) ** 2) < 0.1 * np.mean((too_sure - true) ** 2)
    kept = choose_calibration(np.clip(true, 1e-4, 1), failed, when)
    assert np.mean((kept(true) - true) ** 2) < 1e-3


def test_no_calibration_promises_anything() -> None:
    said = np.array([0.0, 1e-9, 0.5, 1.0])
    fitted_line = fit_logistic(np.array([0.0, 0.2, 0.8, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    for line in (Calibration("none"), fitted_line, Calibration("isotonic", (0.0, 1.0), (0.0, 1.0))):
        assert (line(said) > 0).all()
        assert (line(said) < 1).all()
