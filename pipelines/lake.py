"""The lake as assets: one for each event kind, partitioned by UTC day, and the sensor that keeps it fresh.

A day is written whole, so a day that is not over is written once an hour, or together with one that is over: who
needs its newest events reads them from the inbox, and a training completes the lake first. Once it is over it is
written again, also without new events, so that it is known to be whole.

Dagster carries out a run key once, whatever became of the run, so keys end with the hour: what a failed run left
undone is asked for again in the next one. A run key does not say whether its run failed or still works, so nothing is
asked for while a run of the job is under way, and Dagster ends runs that show no end.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta

import dagster as dg

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EARLIEST, PAYLOADS
from crewflow_assets.lake.events import stale_days, write_days
from crewflow_assets.store.database import reading

TODAY_EVERY, OTHERWISE_EVERY = timedelta(hours=1), timedelta(minutes=5)
"""After how long a kind's days are asked for again: while only days that are not over are stale, and otherwise."""
STALE_ONLY = "crewflow/stale_only"
"""The tag of a run that writes the days that are stale when it starts, instead of those that it was requested for.

Who reads the lake, and then from the inbox what was received after its newest event, would otherwise miss an event of
a day that became stale while the run waited."""
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
        chosen = {date.fromisoformat(day) for day in context.partition_keys}
        if STALE_ONLY in context.run.tags:
            with reading() as session:
                chosen = set(stale_days(session, kind))
        with reading() as session:
            count = write_days(session, kind, chosen)
        return dg.MaterializeResult(metadata={"dagster/row_count": count, "days": len(chosen)})

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
    description="Asks for every day of which the inbox holds events that the lake has not, and for those that were "
    "written before they were over, at most every 5 minutes; where that is today alone, once an hour.",
)
def new_events(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request all stale days of a kind in one run; the cursor keeps when each kind's were requested last."""
    now = clock.now()
    asked: dict[str, str] = json.loads(context.cursor or "{}")
    reasons, found = [], False
    for kind, job in lake_jobs.items():
        with reading() as session:
            stale = stale_days(session, kind)
        if not stale:
            continue
        over = {day: count for day, count in stale.items() if day < now.date()}
        due = datetime.fromisoformat(asked.get(kind, EARLIEST.isoformat())) + (
            OTHERWISE_EVERY if over else TODAY_EVERY
        )
        if under_way(context.instance, job.name):
            reasons.append(f"{kind} waits for a run under way")
        elif now < due:
            reasons.append(f"{kind} is taken up from {due:%H:%M} UTC")
        else:
            found, asked[kind] = True, now.isoformat()
            yield request_for(kind, stale, over or stale)
    context.update_cursor(json.dumps(asked))
    if not found:
        yield dg.SkipReason("; ".join(reasons) or "the lake holds every event of the inbox")


def request_for(kind: str, stale: Mapping[date, int], counted: Mapping[date, int]) -> dg.RunRequest:
    """Return the request for the stale days of a kind; its key tells the numbers of events of some of them."""
    first, last = min(stale), max(stale)
    key = f"{kind}/{first}/{last}/{sum(counted.values())}/{this_hour()}"
    job, tags = lake_jobs[kind].name, {STALE_ONLY: "yes"}
    if first == last:
        return dg.RunRequest(run_key=key, job_name=job, partition_key=first.isoformat(), tags=tags)
    return dg.RunRequest(run_key=key, job_name=job, tags=range_tags(first, last) | tags)


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
