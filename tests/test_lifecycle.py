"""The life of a model, run in Dagster on a real store, lake and registry."""

import dataclasses
import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from sqlalchemy import Engine, delete, select, update

from crewflow_assets import clock, promotion, quality, registry
from crewflow_assets.cost_code_mapping.lifecycle import CostCodeMapping
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.lifecycle import evaluation_metadata, model_assets
from crewflow_assets.spec import Evaluation, Figure, Gate, ModelSpec
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.training_tables import TrainingClaim
from crewflow_assets.training import claims
from pipelines.resources import json_io
from tests.worlds import companies_of, correct_some, write_lake

SPEC = dataclasses.replace(COST_CODE_MAPPING, gates=(Gate("top1_gain", "low", ">", 0.0),))  # enough for a small world
IMPOSSIBLE = dataclasses.replace(SPEC, gates=(*SPEC.gates, Gate("top1", "value", ">", 2.0)))
LATER = datetime(2026, 2, 1, tzinfo=UTC)


def train(
    instance: dg.DagsterInstance,
    spec: ModelSpec = SPEC,
    *,
    at: datetime = LATER,
    seed: int | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    assets, checks = model_assets(spec)
    job = dg.define_asset_job("training", selection=dg.AssetSelection.groups(spec.name))
    definitions = dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[job],
        resources={"json_io": json_io},
        executor=dg.in_process_executor,
    )
    config = {"ops": {f"{spec.name}__candidate": {"config": {"seed": seed}}}} if seed is not None else {}
    with clock.fixed(at):
        return definitions.resolve_job_def("training").execute_in_process(
            instance=instance, raise_on_error=False, run_config=config, tags=tags
        )


def materialised(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Return the metadata of each asset that was materialised, by its name."""
    found = {}
    for event in result.get_asset_materialization_events():
        key = event.asset_key
        assert key is not None
        metadata = event.step_materialization_data.materialization.metadata
        found[key.path[-1]] = {name: value.value for name, value in metadata.items()}
    return found


def labels() -> list[str]:
    return [version.label for version in registry.describe(SPEC)]


def records(table: Any) -> list[dict[str, Any]]:
    return (
        [dict(record.data) for record in table.records]
        if hasattr(table, "records")
        else [dict(r.data) for r in table]
    )


def test_a_healthy_training_ends_with_a_champion_and_a_second_one_registers_nothing_new(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    first = train(instance)
    assert first.success
    seen = materialised(first)
    assert set(seen) == {"features", "candidate", "evaluation", "champion"}
    [checked] = first.get_asset_check_evaluations()
    assert checked.passed
    assert seen["features"]["dagster/row_count"] > 10_000
    assert seen["champion"]["champion"] == "1.0"
    assert seen["champion"]["reason"] == "all gates met, and there was no champion"
    figures = {row["figure"]: row for row in records(seen["evaluation"]["figures"])}
    assert figures["top1"]["value"] > figures["top1"]["baseline_value"]
    assert {"reliability", "precision_coverage", "top1_by_industry", "worst_mistakes"} <= set(seen["evaluation"])

    champion = registry.find(SPEC, "champion")
    assert champion.tags["crewflow.decision"] == "all gates met, and there was no champion"
    assert champion.tags[registry.ROLE] == "candidate"
    assert champion.data_until == LATER
    assert "top1" in champion.figures

    again = train(instance, at=LATER + timedelta(days=1))
    assert again.success
    assert labels() == ["1.0"]
    assert materialised(again)["champion"]["reason"] == "it is the champion already"

    for file in filled.rglob("*"):
        if file.is_file() and "storage" not in file.parts:
            assert file.suffix not in {".pkl", ".pickle", ".joblib"}, file
            assert not file.read_bytes().startswith((b"\x80\x04", b"\x80\x05")), file
    handed_on = sorted(file.name for file in (filled / "assets").rglob("*") if file.is_file())
    assert handed_on == ["candidate.json", "champion.json", "evaluation.json", "features.json"]


def test_new_decisions_give_a_new_version_that_is_compared_with_the_champion(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    assert train(instance).success
    for company in companies_of("train", 3):
        correct_some(company, 15, LATER)
    write_lake()
    result = train(instance, at=LATER + timedelta(days=1))
    assert result.success
    assert labels() == ["1.1", "1.0"]
    compared = materialised(result)["evaluation"]["against_champion"]
    assert compared["champion"] == "1.0"
    assert compared["low"] <= compared["gain"]
    decided = materialised(result)["champion"]
    alias = "champion" if compared["low"] > -SPEC.tolerance else "challenger"
    if not records(materialised(result)["evaluation"]["gates"])[0]["passed"]:
        alias = "challenger"
    assert "1.1" in decided["decided"]
    assert registry.find(SPEC, "1.1").aliases == (alias,)
    assert registry.find(SPEC, "champion").label == decided["champion"]


def test_a_champion_that_cannot_be_used_any_more_is_replaced(
    filled: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(instance).success
    monkeypatch.setattr("crewflow_assets.cost_code_mapping.model.FEATURES_REVISION", 99)
    correct_some(companies_of("train", 1)[0], 15, LATER)
    write_lake()
    result = train(instance, at=LATER + timedelta(days=1))
    assert result.success
    decided = materialised(result)["champion"]
    assert "train the model anew" in materialised(result)["evaluation"]["against_champion"]["outdated"]
    if all(row["passed"] for row in records(materialised(result)["evaluation"]["gates"])):
        assert decided["reason"].startswith("all gates met, and the champion cannot be used any more")
    else:
        assert "stands in" in decided["reason"]
    assert decided["champion"] != "1.0"


def test_a_poisoned_feature_table_stops_the_training_and_names_its_columns(
    filled: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CostCodeMapping.build_features

    def poisoned(self: CostCodeMapping, cutoff: datetime) -> pd.DataFrame:
        table = real(self, cutoff)
        table.loc[:99, "label"] = 7
        table.loc[:9, "name_similarity"] = 9.0
        table["candidate"] = table["candidate"].where(table.index > 4)
        return table

    monkeypatch.setattr(CostCodeMapping, "build_features", poisoned)
    result = train(instance)
    assert not result.success
    [checked] = result.get_asset_check_evaluations()
    assert not checked.passed
    assert checked.severity is dg.AssetCheckSeverity.ERROR
    assert checked.description == "3 of 7 expectations failed"
    wrong = {row["column"]: row for row in records(checked.metadata["results"].value) if not row["passed"]}
    assert set(wrong) == {"label", "name_similarity", "candidate"}
    assert wrong["label"]["unexpected"] == 100
    assert set(materialised(result)) == {"features"}
    assert registry.describe(SPEC) == []


def test_where_the_first_candidate_fails_its_gates_the_best_baseline_is_champion_and_says_so(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    result = train(instance, IMPOSSIBLE)
    assert result.success
    champion = registry.find(SPEC, "champion")
    assert champion.label == "1.1"
    assert champion.tags[registry.ROLE].startswith("baseline: ")
    best = champion.tags[registry.ROLE].removeprefix("baseline: ")
    assert champion.tags["crewflow.decision"] == (
        f"the baseline “{best}” stands in, since the first candidate failed (gates not met: top1 > 2)"
    )
    assert "top1" in champion.figures
    candidate = registry.find(SPEC, "1.0")
    assert candidate.aliases == ("challenger",)
    assert candidate.tags["crewflow.decision"] == "gates not met: top1 > 2"
    code = SPEC.code()
    table = pd.read_parquet(next((filled / "features" / SPEC.name).glob("*.parquet")))
    scores = {
        name: code.row_scores(baseline, table)["score"].mean()
        for name, baseline in code.baselines(table, seed=7).items()
    }
    assert best == max(scores, key=lambda name: scores[name])

    again = train(instance, IMPOSSIBLE)  # nothing changed: nothing new, and the baseline still stands
    assert again.success
    assert labels() == ["1.1", "1.0"]
    assert registry.alias_numbers(SPEC) == {"champion": 2, "challenger": 1}

    better = train(instance)  # the same candidate under gates that it meets takes over from the baseline
    assert better.success
    assert registry.find(SPEC, "champion").label == "1.0"
    assert materialised(better)["evaluation"]["against_champion"]["champion"] == "1.1"


def test_the_seed_of_a_run_is_part_of_what_makes_a_version(filled: Path, instance: dg.DagsterInstance) -> None:
    assert train(instance, seed=1).success
    assert train(instance, seed=2).success
    assert labels() == ["1.1", "1.0"]
    runs = [registry.client().get_run(v.run_id).data.params for v in registry.describe(SPEC)]
    assert [run["seed"] for run in runs] == ["2", "1"]
    assert {run["feature_hash"] for run in runs} == {runs[0]["feature_hash"]}
    assert all(run["package.numpy"] and run["package.pandas"] for run in runs)


def test_a_training_without_any_events_fails_with_the_remedy(
    sqlite_store: Engine, instance: dg.DagsterInstance
) -> None:
    result = train(instance)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    assert "import data or run `crewflow demo`" in str(error.cause or error)


def test_where_approval_is_required_the_first_candidate_waits_and_what_is_rolled_back_stays_so(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    promotion.require_approval(SPEC, True, by="dana", why="audit")
    waits = train(instance)
    assert waits.success
    assert registry.alias_numbers(SPEC) == {"challenger": 1}
    assert materialised(waits)["champion"]["decided"] == "1.0 waits for approval"
    assert materialised(waits)["champion"]["champion"] == "none yet"
    promotion.approve(SPEC, "1.0", by="dana", why="seen")
    assert registry.alias_numbers(SPEC) == {"champion": 1}

    for company in companies_of("train", 3):
        correct_some(company, 15, LATER)
    later = train(instance, at=LATER + timedelta(days=1))  # the lake takes up the corrections by itself
    assert later.success
    assert labels() == ["1.1", "1.0"]
    if registry.alias_numbers(SPEC)["champion"] == 1:
        promotion.promote(SPEC, "1.1", by="dana", why="test", method="experiment")
    promotion.rollback(SPEC, by="dana", why="too many corrections")
    promotion.require_approval(SPEC, False, by="dana", why="the audit is over")
    again = train(instance, at=LATER + timedelta(days=2))
    assert again.success
    assert labels() == ["1.1", "1.0"]
    assert materialised(again)["champion"]["reason"] == "1.1 was rolled back by dana: too many corrections"
    assert registry.find(SPEC, "champion").label == "1.0"
    with reading() as session:
        found = session.scalars(select(TrainingClaim).order_by(TrainingClaim.data_until)).all()
        assert [(claim.state, claim.version) for claim in found] == [
            ("done", "1.0"),
            ("done", "1.1"),
            ("done", "1.1"),
        ]


def test_a_run_whose_cause_another_run_has_does_nothing(sqlite_store: Engine, instance: dg.DagsterInstance) -> None:
    cause = claims.Cause(SPEC.name, "corrections", "w")
    assert claims.take(cause, "another-run", why="25 corrections") is not None
    result = train(instance, tags={"crewflow/reason": "corrections", "crewflow/watermark": "w"})
    assert result.success
    assert materialised(result) == {}
    with reading() as session:
        [claim] = session.scalars(select(TrainingClaim)).all()
        assert (claim.state, claim.run_id) == ("running", "another-run")


@pytest.fixture
def beats(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether a sign of life came while expectations were checked, which then failed; of a small table."""
    seen: list[bool] = []
    long_ago = LATER - timedelta(days=1)

    def takes_long(*_: object) -> pd.DataFrame:
        with transaction() as session:
            session.execute(update(TrainingClaim).values(beat_at=long_ago))
        for _attempt in range(500):
            with reading() as session:
                seen[:] = [beat != long_ago for beat in session.scalars(select(TrainingClaim.beat_at))]
            if not seen or any(seen):
                break
            time.sleep(0.01)
        return pd.DataFrame([{"expectation": "x", "column": "label", "passed": False}])

    monkeypatch.setattr(quality, "run_suite", takes_long)
    monkeypatch.setattr(claims, "working", partial(claims.working, beat_seconds=0.01))
    monkeypatch.setattr(CostCodeMapping, "build_features", lambda *_: pd.DataFrame({"label": [1]}))
    return seen


def test_a_run_shows_that_it_lives_while_its_features_are_checked(
    beats: list[bool], instance: dg.DagsterInstance
) -> None:
    assert not train(instance).success
    assert beats == [True]


def test_a_check_that_is_run_by_itself_is_no_training(beats: list[bool], instance: dg.DagsterInstance) -> None:
    train(instance)
    with transaction() as session:
        session.execute(delete(TrainingClaim))
    assets, checks = model_assets(SPEC)
    job = dg.define_asset_job("check", selection=dg.AssetSelection.checks(*checks))
    found = dg.Definitions(assets=assets, asset_checks=checks, jobs=[job], resources={"json_io": json_io})
    result = found.resolve_job_def("check").execute_in_process(instance=instance, raise_on_error=False)
    [checked] = result.get_asset_check_evaluations()
    assert not checked.passed
    assert beats == []


def test_an_evaluation_is_shown_with_its_plots_and_tables() -> None:
    figures = (Figure(name="top1", value=0.5, low=0.4, high=0.6, n=9), Figure(name="right", value=None, n=0))
    shown = evaluation_metadata(Evaluation(figures, {"curve": b"png"}, {"worst": pd.DataFrame({"code": ["E-1"]})}))
    assert records(shown["figures"].value)[1] == {
        "figure": "right",
        "value": "",
        "low": "",
        "high": "",
        "n": 0,
        "baseline": "",
        "baseline_value": "",
    }
    assert shown["curve"].value == "![curve](data:image/png;base64,cG5n)"
    assert "| E-1" in str(shown["worst"].value)
    json.dumps(records(shown["figures"].value), allow_nan=False)
