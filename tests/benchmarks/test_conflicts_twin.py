"""The simulated benchmarks of conflicts: the ceiling, the learning curve, a change of convention, throughput."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from benchmarks.conflicts_drift import Reviews, is_affected, run_through
from benchmarks.conflicts_throughput import app as throughput
from benchmarks.conflicts_twin import app, first_decisions
from crewflow_assets.backtest.conflict_worlds import ceiling_of, histories, table_of
from crewflow_assets.conflict_resolution.evaluation import rows_of
from crewflow_assets.conflict_resolution.model import ConflictPredictor, fit
from crewflow_assets.twin.timecards.parameters import DEFAULTS, TimecardParameters


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return table_of(list(histories(DEFAULTS, companies=14, days=60, seed=3)))


@pytest.fixture(scope="module")
def predictor(table: pd.DataFrame) -> ConflictPredictor:
    return fit(*rows_of(table), seed=3)


def test_the_ceiling_is_what_people_do_most_by_mechanism_and_habit(table: pd.DataFrame) -> None:
    known = pd.DataFrame(
        {"mechanism": ["sure"] * 20 + ["split"] * 20, "usual": "use_crewflow", "label": [0] * 20 + [0, 1] * 10}
    )
    found = ceiling_of(known, known)
    assert found.agrees.tolist() == [1.0] * 20 + [0.5] * 20
    assert found.automatic.tolist() == [True] * 20 + [False] * 20
    whole = ceiling_of(table, table)
    assert whole.agrees[whole.automatic].mean() >= 0.95
    assert whole.agrees.mean() >= float((table["label"] == table["truth"]).mean()) - 0.05


def test_decisions_are_the_earliest_of_enough_companies(table: pd.DataFrame) -> None:
    part = first_decisions(table, 50)
    assert (len(part), part["company_id"].nunique()) == (50, 10)
    for company, mine in part.groupby("company_id"):
        rest = table[(table["company_id"] == company) & ~table["conflict_id"].isin(mine["conflict_id"])]
        assert rest.empty or mine["opened_at"].max() <= rest["opened_at"].min()


def test_the_switch_counts_silence_until_the_last_override() -> None:
    reviews = Reviews(blind=[False, True])
    assert not reviews.trip()
    reviews.blind += [True] * 4
    assert reviews.trip()
    acted = Reviews(acted=[f"x-{number}" for number in range(8)], overridden={"x-0", "x-1", "x-2", "x-3"})
    assert acted.trip(), "what came after the last override says nothing yet"


def test_people_who_look_at_everything_see_less_go_wrong(predictor: ConflictPredictor) -> None:
    turning = TimecardParameters(changes_rule=1.0, clocked_share=1.0, rounding_share=1.0, rounding_seen=0.4)
    turned = [h for h in histories(turning, companies=6, days=60, seed=5, prefix="t") if is_affected(h)]
    assert turned
    sure = ConflictPredictor(predictor.booster, predictor.calibration, {"hours_mismatch": 0.5})
    alone, seen = (
        [
            run_through(sure, h, withheld_share=0.05, looked_at=looked, switch=looked > 0, people_first=looked > 0)
            for h in turned
        ]
        for looked in (0.0, 1.0)
    )
    assert sum(one.affected for one in alone) > 20
    assert sum(one.wrong for one in alone) > 5
    assert sum(one.wrong for one in seen) < 0.7 * sum(one.wrong for one in alone)
    assert {one.tripped for one in alone} == {"never"}


def test_a_short_learning_curve_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.conflicts_twin.TEST_COMPANIES", 5)
    monkeypatch.setattr("benchmarks.conflicts_twin.DAYS", 40)
    file = tmp_path / "twin.json"
    said = CliRunner().invoke(
        app, ["--part", "curve", "--largest", "150", "--json", str(file), "--plots", str(tmp_path)]
    )
    assert said.exit_code == 0, said.output
    found = json.loads(file.read_text())["curve"]
    assert [(one["method"], one["decisions"]) for one in found][::2] == [("ours", 50), ("ours", 150)]
    assert all(np.isnan(one["right"]) or one["coverage"] > 0 for one in found)
    assert (tmp_path / "conflicts-twin-curve.png").exists()


def test_throughput_counts_what_was_done(
    sqlite_store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "throughput.json"
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0")  # restored afterwards, as the command sets it
    said = CliRunner().invoke(
        throughput,
        ["--database-url", str(sqlite_store.url), "--number", "20", "--bulk", "60", "--json", str(file)],
    )
    assert said.exit_code == 0, said.output
    steps = {one["step"]: one["n"] for one in json.loads(file.read_text())}
    assert (steps["record"], steps["resolve automatically"], steps["undo in bulk"]) == (20, 20, 60)
    assert 15 <= steps["undo"] <= 20, "all but the withheld"
