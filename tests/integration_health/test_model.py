"""Fitting, the interval, saving, and what the evaluation says of it all."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.errors import OutdatedModelError
from crewflow_assets.evaluation.promotion import check_gates
from crewflow_assets.integration_health.evaluation import SIMPLE
from crewflow_assets.integration_health.features import FEATURES, MEAN, NOW, WEEK
from crewflow_assets.integration_health.lifecycle import IntegrationHealthForecast, training_rows
from crewflow_assets.integration_health.model import (
    Forecast,
    Forecaster,
    HealthPredictor,
    fit,
    fit_simple,
    pinball,
    widening_of,
)
from crewflow_assets.integration_health.model_spec import INTEGRATION_HEALTH_FORECAST
from crewflow_assets.integration_health.table import day_numbers, rows_of_table
from crewflow_assets.spec import Evaluation
from tests.integration_health.histories import table

CODE = IntegrationHealthForecast()


@cache
def fitted() -> HealthPredictor:
    return CODE.fit(table(), seed=7)


@cache
def evaluated() -> Evaluation:
    return CODE.evaluate(fitted(), CODE.baselines(table(), seed=7), table())


def test_it_beats_what_needs_no_model_and_its_interval_holds() -> None:
    found = evaluated()
    assert all(gate.passed for gate in check_gates(INTEGRATION_HEALTH_FORECAST.gates, found))
    assert found.figure("mae").baseline in SIMPLE
    assert 0.7 < (found.figure("unseen_coverage_80").value or 0) < 0.92
    assert (found.figure("trend_right").value or 0) > 0.8
    assert set(INTEGRATION_HEALTH_FORECAST.headline) <= {figure.name for figure in found.figures}
    assert set(found.tables) == {"methods", "slices"}


def test_a_week_that_is_told_beforehand_is_a_sharper_test_than_luck() -> None:
    cheat = table().copy()
    cheat["label"] = cheat[NOW]
    predictor = CODE.fit(cheat, seed=7)
    found = CODE.evaluate(predictor, CODE.baselines(cheat, seed=7), cheat)
    assert found.figure("mae").baseline == "last value"
    assert not all(gate.passed for gate in check_gates(INTEGRATION_HEALTH_FORECAST.gates, found))


def test_low_middle_and_high_are_in_order_and_within_the_scale() -> None:
    rows, _ = rows_of_table(table())
    for forecaster in (fitted().full, fitted().given):
        said = forecaster.forecast(rows)
        assert (said.low <= said.middle).all()
        assert (said.middle <= said.high).all()
        assert said.low.min() >= 0
        assert said.high.max() <= 100


@given(st.lists(st.floats(-50, 50), min_size=5, max_size=60), st.floats(0.1, 20))
def test_the_widened_interval_holds_in_80_of_100_of_what_it_was_set_on(off: list[float], half: float) -> None:
    label = 50 + np.array(off)
    raw = np.column_stack([np.full(len(off), 50 - half), np.full(len(off), 50.0), np.full(len(off), 50 + half)])
    reach = widening_of(raw, label) * max(half, 0.5) + 1e-9
    assert np.mean(np.abs(np.array(off)) <= reach) >= 0.8


def test_a_saved_model_forecasts_the_same(tmp_path: Path) -> None:
    rows, label = rows_of_table(training_rows(table()))
    for name, predictor in {"ours": fitted(), **CODE.baselines(table(), seed=7)}.items():
        folder = tmp_path / name.split(" ")[0]
        folder.mkdir()
        predictor.save(folder)
        assert {file.suffix for file in folder.iterdir()} <= {".ubj", ".json"}
        loaded = CODE.load(folder)
        assert isinstance(predictor, HealthPredictor)
        for ours, theirs in ((predictor.full, loaded.full), (predictor.given, loaded.given)):
            np.testing.assert_array_equal(ours.forecast(rows).low, theirs.forecast(rows).low)
    assert len(label) == len(rows)


def test_a_model_of_a_feature_that_is_gone_says_so(tmp_path: Path) -> None:
    Forecaster(NOW, ("gone",), None, 1.0).save(tmp_path, "full")
    Forecaster(NOW, (), None, 1.0).save(tmp_path, "given")
    with pytest.raises(OutdatedModelError, match=r"'gone'.*train anew"):
        HealthPredictor.load(tmp_path)


def test_the_same_seed_fits_the_same_model_and_the_test_days_do_not_matter() -> None:
    changed = table().copy()
    changed.loc[changed["in_test"], "label"] = 0.0
    rows, _ = rows_of_table(table())
    again = CODE.fit(changed, seed=7).full.forecast(rows)
    np.testing.assert_array_equal(again.middle, fitted().full.forecast(rows).middle)


def test_too_few_rows_are_refused() -> None:
    few = training_rows(table())[:150]
    with pytest.raises(ValueError, match="import more history"):
        fit(*rows_of_table(few), day_numbers(few), few["entity"].tolist(), seed=0)


def best_baseline(features: pd.DataFrame) -> str:
    """Return the baseline that would stand in."""
    baselines = CODE.baselines(features, seed=7)
    return max(baselines, key=lambda name: float(CODE.row_scores(baselines[name], features)["score"].mean()))


def test_row_scores_are_of_the_rows_of_the_headline_and_prefer_ours() -> None:
    scores = CODE.row_scores(fitted(), table())
    best = CODE.baselines(table(), seed=7)[best_baseline(table())]
    assert scores["score"].mean() > CODE.row_scores(best, table())["score"].mean()
    assert len(scores) == evaluated().figure("mae").n
    assert set(scores["cluster"]) == set(table()[table()["in_test"]]["entity"])


def test_the_baseline_that_stands_in_is_the_best_of_the_report_whatever_the_unseen_integrations_say() -> None:
    features = table().copy()
    unseen = features["fold"] == "test"
    assert 0 < (unseen & features["in_test"]).sum() < (~unseen & features["in_test"]).sum()
    features.loc[features["in_test"], "label"] = np.where(unseen, features[WEEK], features[MEAN])[features["in_test"]]
    reported = CODE.evaluate(fitted(), CODE.baselines(features, seed=7), features).figure("mae").baseline
    assert SIMPLE[best_baseline(features)] == SIMPLE[reported or ""] == MEAN


def test_the_quantile_loss_counts_a_narrow_interval_that_fails_for_more() -> None:
    label = np.array([60.0])
    wide, narrow = (Forecast(*(np.array([x]) for x in said)) for said in ((40, 50, 62), (49, 50, 51)))
    assert pinball(wide, label)[0] < pinball(narrow, label)[0]
    rows, labels = rows_of_table(table())
    assert fit_simple(rows, labels, start=NOW).forecast(rows).low.shape == labels.shape
    assert rows.shape[1] == len(FEATURES)
