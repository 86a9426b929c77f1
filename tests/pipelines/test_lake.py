"""The lake in Dagster: the sensor asks for what is stale, the runs write it."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EARLIEST, PAYLOADS, EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.lake.events import folder_of, read_events, stale_days
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company
from pipelines.definitions import defs
from pipelines.lake import days, new_events, range_tags

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=60)


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        session.add(Company(id="c-1", name="Test", industry="electrical", created_at=NOON))
    return "c-1"


def record(*moments: datetime, name: str = "e") -> None:
    events = [
        EventIn(
            event_id=f"{name}-{moment.isoformat()}",
            kind="api_status",
            company_id="c-1",
            occurred_at=moment,
            payload={"system": "xero", "status": "operational"},
        )
        for moment in moments
    ]
    with clock.fixed(NOW), transaction() as session:
        record_events(session, events, handlers={})


def tick(job: str | None = None, status: dg.DagsterRunStatus | None = None) -> list[dg.RunRequest | dg.SkipReason]:
    """Ask the sensor, with a run of a job in Dagster that has a status."""
    with clock.fixed(NOW), dg.DagsterInstance.ephemeral() as instance:
        if job is not None:
            instance.create_run_for_job(defs.resolve_job_def(job), status=status)
        return list(new_events(dg.build_sensor_context(instance=instance)))  # type: ignore[arg-type]


def requests() -> list[dg.RunRequest]:
    found = tick()
    asked = [each for each in found if isinstance(each, dg.RunRequest)]
    assert len(asked) == len(found)
    return asked


def run(request: dg.RunRequest) -> None:
    job = defs.resolve_job_def(str(request.job_name))
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, partition_key=request.partition_key, tags=dict(request.tags)
        )
    assert result.success


def test_an_empty_inbox_leaves_nothing_to_do(company: str) -> None:
    [skipped] = tick()
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "the lake holds every event of the inbox"


def test_each_stale_day_is_asked_for_until_it_is_written(company: str) -> None:
    record(NOON, NOON + timedelta(hours=1), NOON + timedelta(days=3))
    asked = requests()
    assert [(r.job_name, r.partition_key, r.run_key) for r in asked] == [
        ("lake_api_status", "2026-01-05", "api_status/2026-01-05/2/2026-03-06T12"),
        ("lake_api_status", "2026-01-08", "api_status/2026-01-08/1/2026-03-06T12"),
    ]
    run(asked[0])
    assert [r.partition_key for r in requests()] == ["2026-01-08"]
    run(asked[1])
    assert isinstance(tick()[0], dg.SkipReason)
    assert len(read_events("api_status", before=NOW).to_pyarrow()) == 3


def test_a_late_event_is_asked_for_under_a_new_key(company: str) -> None:
    record(NOON)
    [first] = requests()
    run(first)
    record(NOON + timedelta(hours=2), name="late")
    [again] = requests()
    assert again.partition_key == first.partition_key
    assert again.run_key != first.run_key


def test_many_stale_days_are_written_in_one_run(company: str) -> None:
    moments = [NOON + timedelta(days=2 * i) for i in range(8)]
    record(*moments)
    [asked] = requests()
    assert asked.partition_key is None
    assert asked.tags == range_tags(date(2026, 1, 5), date(2026, 1, 19))
    run(asked)
    written = sorted(path.name for path in folder_of("api_status").glob("day=*"))
    assert written == [f"day={moment.date()}" for moment in moments]
    with clock.fixed(NOW), reading() as session:
        assert stale_days(session, "api_status") == {}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_nothing_is_asked_for_while_a_run_of_the_job_is_under_way(company: str, status: dg.DagsterRunStatus) -> None:
    record(NOON)
    [skipped] = tick("lake_api_status", status)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "waiting for runs under way: api_status"
    for job, other in (("lake_api_status", dg.DagsterRunStatus.FAILURE), ("lake_sync_attempt", status)):
        [request] = tick(job, other)
        assert isinstance(request, dg.RunRequest)


def test_a_run_whose_process_was_killed_does_not_stop_the_lake_for_good() -> None:
    for job in [f"lake_{kind}" for kind in PAYLOADS] + ["integrations_daily_scores"]:
        assert float(defs.resolve_job_def(job).tags["dagster/max_runtime"]) <= 6 * 60 * 60


def test_no_run_whose_process_was_killed_keeps_its_place_among_the_concurrent_runs_for_ever(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        otherwise = instance.run_monitoring_max_runtime_seconds
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    ends = {job.name: float(job.tags.get("dagster/max_runtime", otherwise)) for job in jobs}
    assert all(0 < seconds <= 24 * 60 * 60 for seconds in ends.values()), ends
    assert ends["integrations_watch"] <= 60 * 60, "a tick is due every 15 minutes"
    assert all(ends[f"{spec.name}_training"] >= 6 * 60 * 60 for spec in MODEL_SPECS), "no living training is ended"


def test_every_moment_that_can_come_in_has_a_partition() -> None:
    keys = set(days.get_partition_keys(current_time=NOW))
    assert EARLIEST.date().isoformat() in keys
    assert NOW.date().isoformat() in keys  # the day that is not over yet
