"""The watch and the daily scores in Dagster: they run, they wait for what they need, and say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from crewflow_assets import clock, registry
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.integration_health import daily
from crewflow_assets.lake.events import folder_of
from crewflow_assets.spec import Answer
from crewflow_assets.store.sync_tables import HealthScore, SyncRisk
from crewflow_assets.sync_health.contract import SyncHealthRequest
from pipelines import integrations
from pipelines.definitions import defs
from pipelines.integrations import TICK, WatchConfig, unscored, watch_schedule
from tests.sync_health.watching import COMPANY, DAY, NOON, actions, add_companies, attempt, everything, post


class Code:
    """Says that every integration's API is down, and remembers when it was asked of how many."""

    asked: list[tuple[datetime, int]]

    def __init__(self) -> None:
        self.asked = []

    def answer(self, _predictor: object, requests: Sequence[SyncHealthRequest]) -> list[Answer]:
        self.asked.append((clock.now(), len(requests)))
        factor = {"code": "api_down", "detail": "all fail", "contribution": 0.8}
        fields = {"failure_probability": 0.9, "risk_factors": [factor], "horizon_minutes": 15.0}
        return [Answer(fields) for _ in requests]


@dataclass
class Loaded:
    predictor: object = None
    label: str = "1.4"


@pytest.fixture
def code(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> Code:
    """A company with an integration, and a champion that fears for all of them."""
    code = Code()
    monkeypatch.setattr(integrations, "spec_named", lambda _: type("Spec", (), {"code": lambda _: code})())
    monkeypatch.setattr(registry, "load", lambda _spec, _version: Loaded())
    monkeypatch.setattr(registry, "alias_numbers", lambda _: {registry.CHAMPION: 3})
    add_companies(COMPANY)
    return code


def run(job: str, at: datetime, **options: Any) -> dg.ExecuteInProcessResult:
    with clock.fixed(at), dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def(job).execute_in_process(instance=instance, **options)


def scheduled(at: datetime) -> Any:
    with dg.DagsterInstance.ephemeral() as instance, clock.fixed(at):
        return watch_schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))


def sensed(at: datetime, status: dg.DagsterRunStatus | None = None) -> list[Any]:
    """Ask the sensor; status: of a run that scores days."""
    with dg.DagsterInstance.ephemeral() as instance, clock.fixed(at):
        if status is not None:
            instance.create_run_for_job(defs.resolve_job_def("integrations_daily_scores"), status=status)
        return list(unscored(dg.build_sensor_context(instance=instance)))  # type: ignore[arg-type]


@pytest.mark.parametrize("at", ["2026-03-02T12:00:00", "noon", "5"])
def test_a_moment_that_is_none_is_refused_by_name(code: Code, at: str) -> None:
    config = dg.RunConfig(ops={"integrations__watch": WatchConfig(at=at)})
    with pytest.raises(dg.Failure, match=f"at is '{at}': give a moment with its time zone, such as 20"):
        run("integrations_watch", NOON, run_config=config)
    assert not code.asked


def test_a_run_of_the_watch_scores_as_of_its_tick_and_acts(code: Code) -> None:
    post(attempt(NOON - timedelta(minutes=5), interval_minutes=15))
    config = dg.RunConfig(ops={"integrations__watch": WatchConfig(at=NOON.isoformat())})
    result = run("integrations_watch", NOON + timedelta(seconds=20), run_config=config)
    [event] = result.asset_materializations_for_node("integrations__watch")
    assert event.metadata["at"].value == NOON.isoformat()
    assert (event.metadata["integrations"].value, event.metadata["at_risk"].value) == (1, 1)
    assert code.asked == [(NOON, 1)]
    assert [risk.assessed_at for risk in everything(SyncRisk)] == [NOON]
    assert actions()[0].model_version == "1.4"


def test_a_run_of_the_watch_writes_no_day_of_the_lake(code: Code) -> None:
    """It would write today's whole day every 15 minutes; the model takes up from the inbox what the lake lacks."""
    post(attempt(NOON - timedelta(minutes=5)))
    run("integrations_watch", NOON)
    assert code.asked == [(NOON, 1)]
    assert not list(folder_of("sync_attempt").glob("day=*"))


def test_a_run_that_comes_a_tick_too_late_looks_at_the_present(code: Code) -> None:
    post(attempt(NOON - timedelta(minutes=5)))
    config = dg.RunConfig(ops={"integrations__watch": WatchConfig(at=NOON.isoformat())})
    run("integrations_watch", NOON + TICK, run_config=config)
    assert code.asked == [(NOON + TICK, 1)]


def test_a_tick_from_before_one_that_ran_late_is_skipped_and_says_so(code: Code) -> None:
    post(attempt(NOON - timedelta(minutes=5)))
    late = NOON + timedelta(minutes=20)
    for planned, starts in ((NOON, late), (NOON + TICK, late + timedelta(minutes=1))):
        config = dg.RunConfig(ops={"integrations__watch": WatchConfig(at=planned.isoformat())})
        result = run("integrations_watch", starts, run_config=config)
    assert code.asked == [(late, 1)]
    [event] = result.asset_materializations_for_node("integrations__watch")
    assert event.metadata["at"].value == (NOON + TICK).isoformat()
    assert event.metadata["skipped"].value == f"integrations were watched at {late.isoformat()}, after this tick"
    assert [risk.assessed_at for risk in everything(SyncRisk)] == [late]


def test_the_schedule_waits_for_integrations_and_a_champion(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no integration is known" in scheduled(NOON).skip_message
    post(attempt(NOON))
    request = scheduled(NOON + TICK)
    assert request.run_key == (NOON + TICK).isoformat()
    assert request.run_config["ops"]["integrations__watch"]["config"] == {"at": (NOON + TICK).isoformat()}
    monkeypatch.setattr(registry, "alias_numbers", lambda _: {})
    assert "no champion yet" in scheduled(NOON).skip_message


def test_the_days_that_are_over_are_scored_once_the_lake_has_them(code: Code) -> None:
    [skipped] = sensed(NOON)
    assert skipped.skip_message == "every day that is over is scored"
    post(attempt(NOON - DAY, latency_ms=100), attempt(NOON))
    [waits] = sensed(NOON)
    assert "1 day of sync attempts" in waits.skip_message
    yesterday = (NOON - DAY).date().isoformat()
    for day in (yesterday, NOON.date().isoformat()):
        run("lake_sync_attempt", NOON, partition_key=day)
    [request] = sensed(NOON)
    assert request.run_key == f"{yesterday}/{yesterday}/{NOON:%Y-%m-%dT%H}"
    [later] = sensed(NOON + timedelta(hours=1))
    assert later.run_key != request.run_key, "Dagster never repeats a run key, not even of a run that failed"
    [later] = sensed(NOON + timedelta(hours=1), dg.DagsterRunStatus.STARTED)
    assert later.skip_message == "waiting for a run under way, which scores days"
    assert isinstance(sensed(NOON, dg.DagsterRunStatus.FAILURE)[0], dg.RunRequest)
    run("integrations_daily_scores", NOON, tags=dict(request.tags))
    [score] = everything(HealthScore)
    assert (score.day.isoformat(), score.overall) == (yesterday, 97.5)
    [skipped] = sensed(NOON)
    assert isinstance(skipped, dg.SkipReason)


def test_days_are_scored_once_the_lake_has_their_conflicts_too(code: Code) -> None:
    """The score counts them: a day scored before its conflicts came would stay wrong."""
    at = NOON - DAY
    conflict = {"conflict_id": "x-1", "conflict_type": "hours", "resolution": "use_external", "decided_by": "dana"}
    post(
        attempt(at, latency_ms=100),
        EventIn(event_id="x-1", kind="conflict_decision", company_id=COMPANY, occurred_at=at, payload=conflict),
    )
    day = at.date().isoformat()
    run("lake_sync_attempt", NOON, partition_key=day)
    [waits] = sensed(NOON)
    assert isinstance(waits, dg.SkipReason)
    assert waits.skip_message == "waiting until the lake has taken up 1 day of conflict decisions"
    run("lake_conflict_decision", NOON, partition_key=day)
    assert isinstance(sensed(NOON)[0], dg.RunRequest)


def test_many_days_are_scored_in_one_run(code: Code) -> None:
    post(attempt(NOON - 20 * DAY, latency_ms=100))
    run("lake_sync_attempt", NOON, partition_key=(NOON - 20 * DAY).date().isoformat())
    [request] = sensed(NOON)
    run("integrations_daily_scores", NOON, tags=dict(request.tags))
    assert len(everything(HealthScore)) == 20


def test_the_lake_is_read_for_scores_while_no_transaction_is_open(
    code: Code, monkeypatch: pytest.MonkeyPatch, sqlite_store: Engine
) -> None:
    """Reading takes seconds to minutes, and on SQLite a transaction keeps every other writer out."""
    post(attempt(NOON - DAY, latency_ms=100))
    day = (NOON - DAY).date().isoformat()
    run("lake_sync_attempt", NOON, partition_key=day)
    open_connections: list[int] = []
    metrics_of = daily.metrics_of

    def watched(days: Sequence[date]) -> Any:
        pool = sqlite_store.pool
        assert isinstance(pool, QueuePool)
        open_connections.append(pool.checkedout())
        return metrics_of(days)

    monkeypatch.setattr(daily, "metrics_of", watched)
    run("integrations_daily_scores", NOON, partition_key=day)
    assert len(everything(HealthScore)) == 1
    assert open_connections == [0]


def test_a_day_is_scored_when_it_is_over_and_not_before() -> None:
    """A score of today would count as done, and what came later that day never be scored."""
    partitions = defs.resolve_job_def("integrations_daily_scores").partitions_def
    assert partitions is not None
    with dg.partition_loading_context(NOON):
        assert partitions.get_last_partition_key() == (NOON - DAY).date().isoformat()
