"""Triggers: the pure judgement, and the sensor on a real store and registry."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from crewflow_assets import clock, registry
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.registry import TrainingRecord, VersionInfo
from crewflow_assets.spec import EventTrigger
from crewflow_assets.store.database import engine_for
from pipelines.training import judge, training_sensors
from tests.worlds import companies_of, correct_some, fill_home, predictor, write_lake

SPEC = COST_CODE_MAPPING
[TRIGGER] = SPEC.triggers
SINCE = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)
NOW = SINCE + timedelta(days=1)
COMPANY = companies_of("train", 1)[0]


@pytest.mark.parametrize(
    ("counts", "fire", "said"),
    [
        ({}, False, "no corrections since 2026-02-01 12:30 (version 1.0)"),
        ({"c-1": 20}, False, "20 corrections of c-1 since version 1.0; more than 20 retrain"),
        ({"c-1": 21}, True, "21 corrections of c-1 since version 1.0; more than 20 retrain"),
        ({"c-1": 15, "c-2": 15}, False, "15 corrections of c-2 since version 1.0; more than 20 retrain"),
        ({"c-1": 3, "c-2": 40, "c-3": 22}, True, "40 corrections of c-2 since version 1.0; more than 20 retrain"),
    ],
)
def test_more_than_the_number_of_one_company_fires(counts: dict[str, int], fire: bool, said: str) -> None:
    verdict = judge(TRIGGER, counts, version="1.0", since=SINCE)
    assert (verdict.fire, verdict.said) == (fire, said)


def test_the_judgement_speaks_of_its_own_trigger() -> None:
    trigger = EventTrigger("failures", lambda _session, _received, _occurred: {}, more_than=3, window_days=7)
    assert judge(trigger, {"i-1": 4}, version="2.3", since=SINCE).said == (
        "4 failures of i-1 since version 2.3; more than 3 retrain"
    )


@pytest.fixture
def filled(home: Path) -> Iterator[Path]:
    engine_for.cache_clear()
    fill_home()
    yield home
    engine_for.cache_clear()


def register(folder: Path, features: str = "f1", *, until: datetime = SINCE, role: str = "candidate") -> VersionInfo:
    saved = folder / f"saved-{features}"
    saved.mkdir(exist_ok=True)
    predictor().save(saved)
    (saved / MODEL_NAME).write_text(SPEC.name)
    record = TrainingRecord(role=role, seed=7, data_until=until, feature_hash=features, code_hash="c")
    return registry.register(SPEC, saved, record)


def tick(now: datetime = NOW) -> dg.SensorEvaluationContext | dg.SkipReason | dg.RunRequest:
    [sensor] = [sensor for sensor in training_sensors if sensor.name == "cost_code_mapping_corrections"]
    with dg.DagsterInstance.ephemeral() as instance, clock.fixed(now):
        [found] = list(sensor(dg.build_sensor_context(instance=instance)))  # type: ignore[arg-type]
    assert isinstance(found, dg.SkipReason | dg.RunRequest)
    return found


def test_a_model_that_was_never_trained_waits_for_its_schedule(filled: Path) -> None:
    found = tick()
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == (
        "cost_code_mapping was never trained; its schedule or `crewflow demo` trains it first"
    )


def test_twenty_corrections_are_not_enough_and_one_more_asks_once(filled: Path, tmp_path: Path) -> None:
    register(tmp_path)
    correct_some(COMPANY, 20, SINCE + timedelta(hours=1))
    write_lake()
    found = tick()
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == f"20 corrections of {COMPANY} since version 1.0; more than 20 retrain"

    correct_some(COMPANY, 1, SINCE + timedelta(hours=2))
    write_lake()
    asked = tick()
    assert isinstance(asked, dg.RunRequest)
    assert asked.run_key == f"cost_code_mapping/corrections/{SINCE.isoformat()}"
    assert asked.tags["crewflow/reason"] == "corrections"
    assert asked.tags["crewflow/why"] == f"21 corrections of {COMPANY} since version 1.0; more than 20 retrain"

    again = tick(NOW + timedelta(hours=1))
    assert isinstance(again, dg.RunRequest)
    assert again.run_key == asked.run_key  # so Dagster starts one run only


def test_a_newer_version_begins_to_count_anew(filled: Path, tmp_path: Path) -> None:
    register(tmp_path)
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    write_lake()
    assert isinstance(tick(), dg.RunRequest)
    register(tmp_path, "f2", until=SINCE + timedelta(hours=3))
    found = tick()
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == "no corrections since 2026-02-01 15:30 (version 1.1)"


def test_a_baseline_that_stands_in_does_not_count_as_a_training(filled: Path, tmp_path: Path) -> None:
    register(tmp_path)
    register(tmp_path, "f2", until=SINCE + timedelta(hours=3), role="baseline: spelling")
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    write_lake()
    assert isinstance(tick(), dg.RunRequest)


def test_only_corrections_count(filled: Path, tmp_path: Path) -> None:
    register(tmp_path)
    correct_some(COMPANY, 30, SINCE + timedelta(hours=1), action="accept")
    write_lake()
    assert isinstance(tick(), dg.SkipReason)


def test_corrections_older_than_the_window_do_not_count(filled: Path, tmp_path: Path) -> None:
    register(tmp_path)
    correct_some(COMPANY, 30, SINCE + timedelta(hours=1))
    write_lake()
    found = tick(SINCE + timedelta(days=31, hours=2))
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message is not None
    assert found.skip_message.startswith("no corrections since 2026-02-02")


def test_training_waits_until_the_lake_has_taken_up_the_corrections(filled: Path, tmp_path: Path) -> None:
    register(tmp_path)
    correct_some(COMPANY, 21, SINCE + timedelta(hours=1))
    found = tick()
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message is not None
    assert found.skip_message.endswith("waiting until the lake has taken up 1 days of events")
    write_lake()
    assert isinstance(tick(), dg.RunRequest)
