"""The fitted model: near the truth where it is known, never falling with the delay, and saved without pickle."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from crewflow_assets.errors import OutdatedModelError
from crewflow_assets.retry_strategy.delays import DELAYS
from crewflow_assets.retry_strategy.features import COLUMN, CONTEXT, OPTIONAL
from crewflow_assets.retry_strategy.model import RetryPredictor, examples_of, fit, fit_line, fit_table, log_loss
from crewflow_assets.retry_strategy.taxonomy import CLASSES
from tests.retry_strategy.failing import table, true_probability


@cache
def fitted() -> RetryPredictor:
    return fit(table(900), seed=1)


def test_the_curve_is_near_the_truth_after_the_first_failure() -> None:
    rows = table(300, seed=9)
    first = rows[rows["attempts"] == 1]
    context = first[list(CONTEXT)].to_numpy(np.float32)
    for name in ("rate_limit", "server_error", "network"):
        chosen = (first["error_class"] == name).to_numpy()
        curve = fitted().curves(context[chosen]).mean(axis=0)
        truth = np.array([true_probability(name, seconds) for seconds in DELAYS])
        assert np.abs(curve - truth).mean() < 0.08, name


def test_what_nothing_mends_is_told() -> None:
    rows = table(300, seed=9)
    chosen = rows[rows["error_class"] == "validation"][list(CONTEXT)].to_numpy(np.float32)
    assert fitted().curves(chosen).max() < 0.1


def test_ours_foretells_better_than_tables() -> None:
    unseen = examples_of(table(500, seed=5))
    ours = log_loss(fitted().probability(unseen.context, unseen.seconds), unseen.ok)
    for by in (("class",), ("class", "attempts"), ("class", "delay")):
        other = fit_table(table(900), by, seed=1)
        assert ours < log_loss(other.probability(unseen.context, unseen.seconds), unseen.ok), by


def test_both_ways_were_compared_on_integrations_they_had_not_seen() -> None:
    assert set(fitted().compared) == {"hazard", "survival"}
    assert fitted().curve.kind == min(fitted().compared, key=fitted().compared.__getitem__)


@pytest.mark.parametrize("way", ["hazard", "survival", "table"])
def test_each_way_never_falls_and_is_saved_without_pickle(way: str, tmp_path: Path) -> None:
    rows = table(250)
    found = fit_table(rows, ("class", "delay"), seed=1) if way == "table" else fit(rows, seed=1, ways=(way,))
    context = rows[list(CONTEXT)].to_numpy(np.float32)[:200]
    seconds = np.sort(np.random.default_rng(0).uniform(1, 90_000, 40))
    said = np.array([found.probability(context, np.full(len(context), one)) for one in seconds])
    assert (np.diff(said, axis=0) >= -1e-6).all()
    found.save(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} <= {".ubj", ".json"}
    again = RetryPredictor.load(tmp_path)
    np.testing.assert_allclose(again.curves(context), found.curves(context), atol=1e-6)
    np.testing.assert_allclose(again.usual, found.usual, atol=1e-9)


def test_it_can_do_without_what_a_request_may_leave_out() -> None:
    unseen = examples_of(table(400, seed=6))
    bare = unseen.context.copy()
    bare[:, [COLUMN[name] for group in OPTIONAL for name in group]] = np.nan
    with_all = log_loss(fitted().probability(unseen.context, unseen.seconds), unseen.ok)
    assert log_loss(fitted().probability(bare, unseen.seconds), unseen.ok) < with_all + 0.05


def test_a_model_on_other_features_asks_for_training(tmp_path: Path) -> None:
    fitted().save(tmp_path)
    file = tmp_path / "retry.json"
    file.write_text(file.read_text().replace('"hour"', '"minute"'))
    with pytest.raises(OutdatedModelError, match="train retry_strategy anew"):
        RetryPredictor.load(tmp_path)


def test_too_little_is_named() -> None:
    with pytest.raises(ValueError, match=r"too few to learn from; it takes 200 of 5"):
        fit(table(20), seed=1)
    with pytest.raises(ValueError, match=r"all \d+ retries failed"):
        fit(table(250).assign(label=0), seed=1)


def test_a_calibration_that_would_turn_the_curve_round_is_not_taken() -> None:
    said = np.linspace(0.1, 0.9, 200)
    assert fit_line(said, (said < 0.5).astype(float)) == (1.0, 0.0)


def test_the_same_seed_fits_the_same_model() -> None:
    rows = table(250)
    unseen = examples_of(table(100, seed=5))
    one, other = (fit(rows, seed=3, ways=("hazard",)).probability(unseen.context, unseen.seconds) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_mean_curves_are_there_for_every_class() -> None:
    assert fitted().usual.shape[0] == len(CLASSES)
    assert np.isfinite(fitted().usual).all()
    assert (np.diff(fitted().usual, axis=3) >= -1e-6).all()
