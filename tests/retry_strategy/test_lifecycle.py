"""From events in the lake to figures, through the interface that the platform uses."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError
from crewflow_assets.evaluation.promotion import check_gates
from crewflow_assets.lake.events import write_days
from crewflow_assets.retry_strategy.evaluation import BASELINES, Judged, beyond_noise, ece, interval
from crewflow_assets.retry_strategy.lifecycle import RetryStrategy, held_out_rows, training_rows
from crewflow_assets.retry_strategy.model_spec import RETRY_STRATEGY
from crewflow_assets.spec import Evaluation, Predictor
from crewflow_assets.store.database import reading
from tests.retry_strategy.asking import MINUTE, NOON, add_companies, attempt, outcome, post
from tests.retry_strategy.failing import table

CODE = RetryStrategy()


@cache
def evaluated() -> tuple[Evaluation, Predictor]:
    rows = table(1500)
    model = CODE.fit(rows, seed=1)
    return CODE.evaluate(model, CODE.baselines(rows, seed=1), rows), model


def test_the_figures_that_gates_and_headline_need_are_there() -> None:
    found, _ = evaluated()
    assert {one.gate.figure for one in check_gates(RETRY_STRATEGY.gates, found)} == {
        "brier_gain",
        "ece_beyond_noise",
    }
    for name in RETRY_STRATEGY.headline:
        assert found.figure(name).n > 0
    assert set(found.tables) == {"by_method", "by_delay", "by_class", "ways"}
    assert found.tables["by_method"]["method"].tolist() == ["ours", *BASELINES]
    assert all(png.startswith(b"\x89PNG") for png in found.plots.values())


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (1.2, False)])
def test_noise_does_not_fail_the_gate_on_calibration_and_miscalibration_does(shift: float, passes: bool) -> None:
    random, n = np.random.default_rng(2), 285
    found, plain = [], []
    for _ in range(8):
        odds = random.normal(-0.5, 1.8, n)
        ok = (random.random(n) < expit(odds - shift)).astype(float)
        judged = Judged(expit(odds), ok, random.integers(0, 30, n).astype(str).astype(object))
        measured = interval(ece, judged)
        plain.append(measured.value)
        found.append(beyond_noise(measured) <= 0.05)
    assert np.mean(plain) > 0.05
    assert np.mean(found) >= 0.8 if passes else not any(found)


def test_the_plan_is_worth_more_than_the_logged_delays() -> None:
    found, _ = evaluated()
    plan = found.figure("plan_value")
    assert plan.value is not None
    assert plan.baseline_value is not None
    assert plan.value > plan.baseline_value + 0.1


def test_nothing_is_tested_that_was_trained_on() -> None:
    rows = table(500)
    tested, trained = rows[held_out_rows(rows)], training_rows(rows)
    assert not set(tested["entity"]) & set(trained["entity"])
    assert tested["decided_at"].min() > trained["decided_at"].max()


def test_a_saved_model_scores_the_same_and_a_baseline_can_stand_in(tmp_path: Path) -> None:
    rows = table(500)
    for number, model in enumerate((evaluated()[1], *CODE.baselines(rows, seed=1).values())):
        folder = tmp_path / str(number)
        folder.mkdir()
        model.save(folder)
        again = CODE.row_scores(CODE.load(folder), rows)
        np.testing.assert_allclose(again["score"], CODE.row_scores(model, rows)["score"], atol=1e-6)


def test_features_come_from_the_lake(sqlite_store: Engine) -> None:
    with pytest.raises(NotReadyError, match="retry_outcome"):
        CODE.build_features(NOON)
    add_companies()
    post(
        *(outcome(n, "c-1", NOON - (n + 1) * MINUTE, status_code=503, ok=bool(n % 2)) for n in range(20)),
        *(attempt(n, "c-2", NOON - n * MINUTE, ok=False) for n in range(30)),
    )
    with clock.fixed(NOON), reading() as session:
        write_days(session, "retry_outcome", [NOON.date()])
    alone = CODE.build_features(NOON)
    assert len(alone) == 20
    assert (alone["others_n_15m"] == 0).all()
    with clock.fixed(NOON), reading() as session:
        write_days(session, "sync_attempt", [NOON.date()])
    found = CODE.build_features(NOON)
    assert found["others_failed_share_15m"].iloc[-1] == 1
    assert (CODE.build_features(NOON - 10 * MINUTE)["decided_at"] < NOON - 10 * MINUTE).all()
