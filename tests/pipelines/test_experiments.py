"""The nightly asset: every running experiment is looked at, with plots, checks, and failures that are seen."""

import dagster as dg
import pytest
from sqlalchemy import Engine, func, select

from crewflow_assets import clock
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.experiment_tables import Experiment, ExperimentLook
from pipelines.experiments import HARM, RATIO, experiment_looks
from tests.experiments.trial import BEGAN, DAY, add_companies, decide_day, start, stored


def run(after: int, *, raises: bool = True) -> dg.ExecuteInProcessResult:
    with clock.fixed(BEGAN + after * DAY):
        return dg.materialize([experiment_looks], raise_on_error=raises)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_nights_of_an_experiment(sqlite_store: Engine) -> None:
    assert run(0).asset_materializations_for_node("experiments__looks")[0].metadata["experiments"].value == 0
    assignment, companies = start(), add_companies(60)
    for day in range(2):
        decide_day(assignment, companies, BEGAN + day * DAY, lambda arm: 0.9 if arm == "treatment" else 0.3)
        result = run(day + 1)
    [made] = result.asset_materializations_for_node("experiments__looks")
    name = "mapping-model-v2"
    assert str(made.metadata[f"{name}: verdict"].value).startswith("winner: mapping_accuracy of treatment +0.")
    for metric in ("mapping_accuracy", "user_acceptance_rate", "setup_time"):
        assert "data:image/png;base64," in str(made.metadata[f"{name}: {metric}"].value)
    assert checks(result) == {RATIO: True, HARM: True}
    assert stored().winner == "treatment"
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(ExperimentLook)) == 2


def test_harm_and_a_wrong_ratio_fail_their_checks(sqlite_store: Engine) -> None:
    assignment, companies = start(), add_companies(120)
    kept = [one for one in companies if assignment.arm(one).name == "control" or hash_free(one)]
    decide_day(assignment, kept, BEGAN, lambda arm: 0.2 if arm == "treatment" else 0.9)
    assert checks(run(1)) == {RATIO: False, HARM: False}
    assert stored().ended_reason == "harm"


def hash_free(company: str) -> bool:
    """Keep a quarter, the same every time."""
    return int(company.removeprefix("c-")) % 4 == 0


def test_one_that_fails_is_told_after_the_others_were_looked_at(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    with transaction() as session:
        session.add(
            Experiment(
                name="broken",
                model="gone",
                salt="s",
                arms=[],
                metrics=[],
                state="running",
                started_at=BEGAN,
                started_by="dana",
                ends_at=BEGAN + 9 * DAY,
            )
        )
    result = run(1, raises=False)
    assert not result.success
    assert "broken: NotFoundError: no model 'gone'" in str(result.all_events[-2:]) + str(
        [event.event_specific_data for event in result.all_events if event.is_step_failure]
    )
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(ExperimentLook)) == 1
