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
from pipelines.lake import STALE_ONLY, days, new_events, range_tags

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=60)


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        session.add(Company(id="c-1", name="Test", industry="electrical", created_at=NOON))
    return "c-1"


def record(*moments: datetime, name: str = "e", received: datetime = NOW) -> None:
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
    with clock.fixed(received), transaction() as session:
        record_events(session, events, handlers={})


def tick(
    job: str | None = None,
    status: dg.DagsterRunStatus | None = None,
    *,
    at: datetime = NOW,
    cursor: list[str | None] | None = None,
) -> list[dg.RunRequest | dg.SkipReason]:
    """Ask the sensor at a moment, with a run of a job in Dagster that has a status; keep its cursor where given."""
    with clock.fixed(at), dg.DagsterInstance.ephemeral() as instance:
        if job is not None:
            instance.create_run_for_job(defs.resolve_job_def(job), status=status)
        with dg.build_sensor_context(instance=instance, cursor=cursor[-1] if cursor else None) as context:
            found = list(new_events(context))  # type: ignore[arg-type]
            if cursor is not None:
                cursor.append(context.cursor)
    return found


def requests() -> list[dg.RunRequest]:
    found = tick()
    asked = [each for each in found if isinstance(each, dg.RunRequest)]
    assert len(asked) == len(found)
    return asked


def said(found: list[dg.RunRequest | dg.SkipReason]) -> str:
    [skipped] = found
    assert isinstance(skipped, dg.SkipReason)
    return str(skipped.skip_message)


def run(request: dg.RunRequest, at: datetime = NOW) -> None:
    job = defs.resolve_job_def(str(request.job_name))
    with clock.fixed(at), dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, partition_key=request.partition_key, tags=dict(request.tags)
        )
    assert result.success


def test_an_empty_inbox_leaves_nothing_to_do(company: str) -> None:
    assert said(tick()) == "the lake holds every event of the inbox"


def test_a_stale_day_is_asked_for_until_it_is_written(company: str) -> None:
    record(NOON, NOON + timedelta(hours=1))
    for _ in range(2):
        [asked] = requests()
        assert (asked.job_name, asked.partition_key) == ("lake_api_status", "2026-01-05")
        assert asked.run_key == "api_status/2026-01-05/2026-01-05/2/2026-03-06T12"
    run(asked)
    assert said(tick()) == "the lake holds every event of the inbox"
    assert len(read_events("api_status", before=NOW).to_pyarrow()) == 2


def test_today_is_taken_up_once_an_hour_and_the_tick_says_when(company: str) -> None:
    cursor: list[str | None] = [None]
    asked = []
    for minute in range(0, 3 * 60 + 1, 10):
        at = NOW + timedelta(minutes=minute)
        record(at, name=str(minute), received=at)
        [found] = tick(at=at, cursor=cursor)
        if isinstance(found, dg.RunRequest):
            asked.append(minute)
            run(found, at)
        else:
            assert said([found]) == f"api_status is taken up from {12 + len(asked)}:00 UTC"
    assert asked == [0, 60, 120, 180]
    keys = set()
    record(NOW, name="another")
    for hour in range(2):
        [request] = tick(at=NOW + timedelta(hours=hour))
        assert isinstance(request, dg.RunRequest)
        keys.add(request.run_key)
    assert len(keys) == 2, "Dagster never repeats a run key, not even of a run that failed"


def test_a_day_that_is_over_is_taken_up_within_minutes_and_today_with_it(company: str) -> None:
    """Today alone would leave late events to who reads after the lake's newest; a late day alone today's."""
    cursor: list[str | None] = [None]
    record(NOW)
    [first] = tick(cursor=cursor)
    assert isinstance(first, dg.RunRequest)
    run(first)
    minutes = {number: NOW + timedelta(minutes=number) for number in (1, 5, 6)}
    record(minutes[1], NOW - timedelta(days=2), name="late", received=minutes[1])
    assert said(tick(at=minutes[1], cursor=cursor)) == "api_status is taken up from 12:05 UTC"
    [asked] = tick(at=minutes[5], cursor=cursor)
    assert isinstance(asked, dg.RunRequest)
    assert asked.tags == range_tags((NOW - timedelta(days=2)).date(), NOW.date()) | {STALE_ONLY: "yes"}
    run(asked, minutes[5])
    record(minutes[6], name="later", received=minutes[6])
    assert said(tick(at=minutes[6], cursor=cursor)) == "api_status is taken up from 13:05 UTC"


@pytest.mark.parametrize("days", [1, 2])
def test_a_run_writes_what_became_stale_while_it_waited(company: str, days: int) -> None:
    """Else today's newest event would hide the late one from who reads on from it in the inbox."""
    record(*(NOW - timedelta(days=n) for n in range(days)))
    [asked] = requests()
    record(NOW - timedelta(days=9), name="late")
    run(asked)
    assert len(read_events("api_status", before=NOW + timedelta(hours=1)).to_pyarrow()) == days + 1
    assert said(tick()) == "the lake holds every event of the inbox"


def test_a_day_is_written_once_more_when_it_is_over(company: str) -> None:
    cursor: list[str | None] = [None]
    record(NOW)
    midnight = NOW + timedelta(hours=12)
    [asked] = tick(cursor=cursor)
    assert isinstance(asked, dg.RunRequest)
    run(asked)
    assert said(tick(at=midnight - timedelta(minutes=1), cursor=cursor)) == "the lake holds every event of the inbox"
    [again] = tick(at=midnight, cursor=cursor)
    assert isinstance(again, dg.RunRequest)
    assert again.partition_key == asked.partition_key
    assert again.run_key == "api_status/2026-03-06/2026-03-06/1/2026-03-07T00"
    run(again, midnight)
    assert said(tick(at=midnight, cursor=cursor)) == "the lake holds every event of the inbox"


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
    assert asked.tags == range_tags(date(2026, 1, 5), date(2026, 1, 19)) | {STALE_ONLY: "yes"}
    run(asked)
    written = sorted(path.name for path in folder_of("api_status").glob("day=*"))
    assert written == [f"day={moment.date()}" for moment in moments]
    with clock.fixed(NOW), reading() as session:
        assert stale_days(session, "api_status") == {}


def test_a_run_for_stale_days_leaves_those_between_as_they_are(company: str) -> None:
    record(*(NOON + timedelta(days=n) for n in range(3)))
    run(requests()[0])
    written = {path.parent.name: path.stat().st_mtime_ns for path in folder_of("api_status").glob("day=*/*")}
    record(NOON, NOON + timedelta(days=2), name="late")
    [asked] = requests()
    run(asked)
    again = {path.parent.name: path.stat().st_mtime_ns for path in folder_of("api_status").glob("day=*/*")}
    assert {day for day in again if again[day] != written[day]} == {"day=2026-01-05", "day=2026-01-07"}
    by_hand = dg.RunRequest(job_name=asked.job_name, tags=range_tags(date(2026, 1, 5), date(2026, 1, 7)))
    (folder_of("api_status") / "day=2026-01-06" / "events.parquet").unlink()
    run(by_hand)
    assert len(read_events("api_status", before=NOW).to_pyarrow()) == 5


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_nothing_is_asked_for_while_a_run_of_the_job_is_under_way(company: str, status: dg.DagsterRunStatus) -> None:
    record(NOON)
    assert said(tick("lake_api_status", status)) == "api_status waits for a run under way"
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
