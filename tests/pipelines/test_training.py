"""The sensors and schedules of training on a real store and registry: asked once, and again where a run failed."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock, promotion, registry
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.spec import ModelSpec
from crewflow_assets.training import claims
from crewflow_assets.training.claims import Cause
from pipelines.training import training_schedules, training_sensors
from tests.registering import new_version
from tests.worlds import companies_of, correct_some

SPEC = COST_CODE_MAPPING
SINCE = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)
NOW = SINCE + timedelta(days=1)
COMPANY = companies_of("train", 1)[0]


def trained(features: str = "f1", *, until: datetime = SINCE, **changes: Any) -> None:
    """Register a version that knew what happened until a moment."""
    new_version(features, data_until=until, **changes)


def tick(
    now: datetime = NOW, *, name: str = "cost_code_mapping_corrections", instance: dg.DagsterInstance | None = None
) -> dg.SkipReason | dg.RunRequest:
    [sensor] = [sensor for sensor in training_sensors if sensor.name == name]
    with dg.DagsterInstance.ephemeral() as fresh, clock.fixed(now):
        [found] = list(sensor(dg.build_sensor_context(instance=instance or fresh)))  # type: ignore[arg-type]
    assert isinstance(found, dg.SkipReason | dg.RunRequest)
    return found


def skipped(found: dg.SkipReason | dg.RunRequest) -> str:
    assert isinstance(found, dg.SkipReason), found
    return found.skip_message or ""


def asked(found: dg.SkipReason | dg.RunRequest) -> dg.RunRequest:
    assert isinstance(found, dg.RunRequest), found
    return found


def test_a_model_that_was_never_trained_waits_for_its_schedule(filled: Path) -> None:
    assert skipped(tick()) == "cost_code_mapping was never trained; its schedule or `crewflow demo` trains it first"


def test_twenty_corrections_are_not_enough_and_one_more_asks_once(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 20, SINCE + timedelta(hours=1))
    assert skipped(tick()) == f"20 corrections of {COMPANY} since version 1.0; more than 20 retrain"

    correct_some(COMPANY, 1, SINCE + timedelta(hours=2))
    first = asked(tick())
    said = f"21 corrections of {COMPANY} since version 1.0; more than 20 retrain"
    cause = f"cost_code_mapping/corrections/{SINCE.isoformat()}"
    assert first.run_key == f"cost_code_mapping/corrections/{SINCE.isoformat()}/1"
    assert first.job_name == "cost_code_mapping_training"
    assert first.tags["crewflow/reason"] == "corrections"
    assert first.tags["crewflow/watermark"] == SINCE.isoformat()
    assert first.tags["crewflow/why"] == said
    assert skipped(tick(NOW + timedelta(hours=1))) == f"a training is under way ({cause}: its training was requested)"


def test_two_sensors_at_once_ask_once(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    begin = threading.Barrier(2)
    found: list[dg.SkipReason | dg.RunRequest] = []

    def one() -> None:
        begin.wait()
        found.append(tick())

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in found) == ["RunRequest", "SkipReason"]


def test_a_newer_version_begins_to_count_anew(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    trained("f2", until=SINCE + timedelta(hours=3))
    assert skipped(tick()) == "no corrections since 2026-02-01 15:30 (version 1.1)"


def test_a_training_that_gave_the_same_version_begins_to_count_anew_too(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    cause = cause_of(asked(tick()))
    claims.take(cause, "run-1", why="")
    claims.finish(cause, "run-1", version="1.0", data_until=SINCE + timedelta(hours=3))
    assert skipped(tick()) == "no corrections since 2026-02-01 15:30 (version 1.0)"
    correct_some(COMPANY, 21, SINCE + timedelta(hours=4))
    assert asked(tick()).run_key != f"{cause}/1"


def test_a_baseline_that_stands_in_does_not_count_as_a_training(filled: Path) -> None:
    trained()
    trained("f2", until=SINCE + timedelta(hours=3), role="baseline: spelling")
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    asked(tick())


def test_only_corrections_count(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 30, SINCE + timedelta(hours=1), action="accept")
    skipped(tick())


def test_corrections_older_than_the_window_do_not_count(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 30, SINCE + timedelta(hours=1))
    assert skipped(tick(SINCE + timedelta(days=31, hours=2))).startswith("no corrections since 2026-02-02")


def cause_of(request: dg.RunRequest) -> Cause:
    return Cause(COST_CODE_MAPPING.name, request.tags["crewflow/reason"], request.tags["crewflow/watermark"])


def unfinished(now: datetime, instance: dg.DagsterInstance) -> dg.SkipReason | dg.RunRequest:
    return tick(now, name="unfinished_trainings", instance=instance)


def launched(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    """Create the run of a request, as the daemon does."""
    tags = {**request.tags, "dagster/run_key": request.run_key or ""}
    return instance.create_run_for_job(
        dg.Definitions(jobs=[empty_job]).resolve_job_def("empty_job"), tags=tags, status=dg.DagsterRunStatus.STARTED
    )


@dg.job
def empty_job() -> None:
    pass


def test_a_training_that_failed_is_asked_for_again_up_to_three_times(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    request, now = asked(tick()), NOW
    cause = cause_of(request)
    keys = [request.run_key]
    for pause in claims.PAUSES:
        run = launched(instance, request)
        with clock.fixed(now):
            assert claims.take(cause, run.run_id, why="") is not None
            assert skipped(unfinished(now, instance)).startswith(f"{cause}: run {run.run_id} trains for it (attempt")
        instance.report_run_failed(run)
        assert "its run failed; attempt" in skipped(unfinished(now, instance))
        assert "the next is at" in skipped(unfinished(now + pause / 2, instance))
        now += pause
        request = asked(unfinished(now, instance))
        keys.append(request.run_key)
    assert keys == [f"{cause}/{attempt}" for attempt in (1, 2, 3)]
    run = launched(instance, request)
    assert skipped(unfinished(now, instance)).endswith("attempt 3 waits for its turn in Dagster")
    instance.report_run_failed(run)
    assert "given up after 3 of 3 attempts: its run failed before it began" in skipped(unfinished(now, instance))
    assert skipped(unfinished(now, instance)) == "every training that was asked for is done"
    assert "given up after 3 of 3 attempts" in skipped(tick(now))


def test_a_tick_that_died_after_it_recorded_its_cause_loses_nothing(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    lost = asked(tick())
    assert "requested just now" in skipped(unfinished(NOW, instance))
    again = asked(unfinished(NOW + claims.GRACE, instance))
    assert again.run_key == lost.run_key
    assert {**again.tags, "crewflow/why": ""} == {**lost.tags, "crewflow/why": ""}


def test_a_run_without_a_sign_of_life_is_failed_and_replaced(filled: Path, instance: dg.DagsterInstance) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    request = asked(tick())
    run = launched(instance, request)
    with clock.fixed(NOW):
        claims.take(cause_of(request), run.run_id, why="")
    dead = NOW + claims.LEASE
    assert f"run {run.run_id} gave no sign of life since" in skipped(unfinished(dead, instance))
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE
    assert asked(unfinished(dead + claims.PAUSES[0], instance)).run_key == f"{cause_of(request)}/2"


def test_an_interrupted_promotion_is_completed(
    filled: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained()
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "carry_out", lambda _spec: None)
        promotion.promote(SPEC, "1.0", by="dana", why="test", method="experiment")
    assert skipped(unfinished(NOW, instance)) == "an interrupted promotion of cost_code_mapping was completed"
    assert registry.alias_numbers(SPEC) == {"champion": 1}


def test_what_cannot_be_promoted_holds_no_training_up(
    filled: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    lost = asked(tick())
    looked_at = []

    def away(spec: ModelSpec) -> bool:
        looked_at.append(spec.name)
        raise OSError("the registry is away")

    monkeypatch.setattr(promotion, "reconcile", away)
    assert asked(unfinished(NOW + claims.GRACE, instance)).run_key == lost.run_key
    launched(instance, lost)
    said = skipped(unfinished(NOW + claims.GRACE, instance))
    assert "attempt 1 waits for its turn in Dagster" in said
    for spec in MODEL_SPECS:
        shown = f"an interrupted promotion of {spec.name} could not be completed: OSError('the registry is away')"
        assert shown in said
    assert looked_at == [spec.name for spec in MODEL_SPECS] * 2


def scheduled(at: datetime) -> dg.SkipReason | dg.RunRequest:
    [schedule] = [one for one in training_schedules if one.name == "cost_code_mapping_schedule"]
    with dg.DagsterInstance.ephemeral() as fresh, clock.fixed(at):
        ticked = schedule(dg.build_schedule_context(instance=fresh, scheduled_execution_time=at))
        assert isinstance(ticked, Iterator)
        [found] = ticked
    assert isinstance(found, dg.SkipReason | dg.RunRequest)
    return found


def test_a_schedule_asks_once_for_each_of_its_moments(filled: Path) -> None:
    first = asked(scheduled(SINCE))
    assert first.run_key == f"cost_code_mapping/schedule/{SINCE.isoformat()}/1"
    assert skipped(scheduled(SINCE)).endswith("its training was requested")
    train(first, until=SINCE)
    assert skipped(scheduled(SINCE)).endswith("version 1.1 was trained for it")
    asked(scheduled(SINCE + timedelta(days=7)))


def train(request: dg.RunRequest, *, until: datetime) -> None:
    """Train for a request, on all data before a moment, and end a minute later."""
    with clock.fixed(until + timedelta(minutes=1)):
        claims.take(cause_of(request), "run-1", why="")
        claims.finish(cause_of(request), "run-1", version="1.1", data_until=until)


def test_a_trigger_waits_for_the_scheduled_training_and_then_counts_anew(filled: Path) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    regular = asked(scheduled(NOW))
    under_way = f"a training is under way ({cause_of(regular)}: its training was requested)"
    assert skipped(tick(NOW + timedelta(seconds=30))) == under_way
    train(regular, until=NOW + timedelta(seconds=1))
    assert skipped(tick(NOW + timedelta(minutes=2))) == "no corrections since 2026-02-02 12:30 (version 1.1)"


def test_a_schedule_waits_for_a_triggered_training_and_is_done_with_it(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    trained()
    correct_some(COMPANY, 25, SINCE + timedelta(hours=1))
    burst, later = asked(tick()), NOW + timedelta(minutes=2)
    launched(instance, burst)
    regular = Cause(SPEC.name, "schedule", (NOW + timedelta(seconds=30)).isoformat())
    assert f"a training is under way ({cause_of(burst)}: " in skipped(scheduled(NOW + timedelta(seconds=30)))
    assert f"{regular}: a training is under way ({cause_of(burst)}: " in skipped(unfinished(later, instance))
    train(burst, until=NOW + timedelta(seconds=1))
    assert skipped(unfinished(later, instance)) == f"{regular}: version 1.1 was trained for it"
    assert skipped(unfinished(later, instance)) == "every training that was asked for is done"


def test_a_schedule_that_waited_for_a_training_that_was_given_up_is_trained_for(
    filled: Path, instance: dg.DagsterInstance
) -> None:
    trained()
    by_hand = Cause(SPEC.name, claims.BY_HAND, "run-9")
    with clock.fixed(NOW):
        claims.take(by_hand, "run-9", why="started by hand")
    skipped(scheduled(NOW + timedelta(seconds=30)))
    dead = NOW + claims.LEASE
    found = unfinished(dead, instance)
    regular = asked(found if isinstance(found, dg.RunRequest) else unfinished(dead, instance))
    assert regular.run_key == f"cost_code_mapping/schedule/{(NOW + timedelta(seconds=30)).isoformat()}/1"


def test_a_schedule_without_anything_to_learn_from_says_so(sqlite_store: Engine) -> None:
    assert skipped(scheduled(SINCE)) == (
        "there are no events to learn from (mapping_decision); import data or run `crewflow demo`"
    )
