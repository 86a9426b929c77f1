"""The lake as assets: one for each event kind, partitioned by UTC day, and the sensor that keeps it fresh.

Dagster carries out a run key once, whatever became of the run, so keys end with the hour: what a failed run left
undone is asked for again in the next one. A run key does not say whether its run failed or still works, so nothing is
asked for while a run of the job is under way, and Dagster ends runs that show no end.
"""

import warnings
from collections.abc import Iterator
from datetime import date

import dagster as dg

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EARLIEST, PAYLOADS
from crewflow_assets.lake.events import stale_days, write_day
from crewflow_assets.store.database import reading

MOST_RUNS_A_TICK = 5
UNDER_WAY = [dg.DagsterRunStatus[name] for name in ("QUEUED", "STARTING", "STARTED", "CANCELING")]
ENDS = {"dagster/max_runtime": str(3 * 60 * 60)}
"""Tags of a job whose runs Dagster marks as failed after so many seconds, also those whose process was killed; for
jobs without them `dagster.yaml` says after how many."""

days = dg.DailyPartitionsDefinition(start_date=EARLIEST.date().isoformat(), end_offset=1, timezone="UTC")


def lake_asset(kind: str) -> dg.AssetsDefinition:
    """Make the asset of an event kind; a range of days is written in one run."""
    noun = kind.replace("_", " ")

    @dg.asset(
        name=kind,
        key_prefix="lake",
        group_name="lake",
        description=f"Every {noun} event of a day, in Parquet; running a day again takes up what came late.",
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"parquet"},
    )
    def events(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with reading() as session:
            counts = [write_day(session, kind, date.fromisoformat(day)) for day in context.partition_keys]
        return dg.MaterializeResult(metadata={"dagster/row_count": sum(counts), "days": len(counts)})

    return events


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # said once for each asset, of the backfill policy
    lake_assets = [lake_asset(kind) for kind in PAYLOADS]

lake_jobs = {
    kind: dg.define_asset_job(
        f"lake_{kind}",
        selection=dg.AssetSelection.assets(dg.AssetKey(["lake", kind])),
        description=f"Write days of {kind} events to the lake.",
        tags=ENDS,
    )
    for kind in PAYLOADS
}


@dg.sensor(
    jobs=list(lake_jobs.values()),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for every day of which the inbox holds events that the lake has not.",
)
def new_events(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request the stale days: one run a day, or one run for the range when many are stale."""
    asked, waiting = False, []
    for kind, job in lake_jobs.items():
        with reading() as session:
            stale = stale_days(session, kind)
        if stale and under_way(context.instance, job.name):
            waiting.append(kind)
            continue
        asked = asked or bool(stale)
        if len(stale) > MOST_RUNS_A_TICK:
            first, last = min(stale), max(stale)
            key = f"{kind}/{first}/{last}/{sum(stale.values())}/{this_hour()}"
            yield dg.RunRequest(run_key=key, job_name=job.name, tags=range_tags(first, last))
            continue
        for day, count in stale.items():
            key = f"{kind}/{day}/{count}/{this_hour()}"
            yield dg.RunRequest(run_key=key, job_name=job.name, partition_key=day.isoformat())
    if not asked and waiting:
        yield dg.SkipReason(f"waiting for runs under way: {', '.join(waiting)}")
    elif not asked:
        yield dg.SkipReason("the lake holds every event of the inbox")


def under_way(instance: dg.DagsterInstance, job: str) -> bool:
    """Say whether a run of the job waits or works."""
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=UNDER_WAY)) > 0


def this_hour() -> str:
    """Return the present hour, UTC, as run keys end."""
    return f"{clock.now():%Y-%m-%dT%H}"


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the run tags that make one run write a range of days."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
