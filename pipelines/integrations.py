"""Integrations as assets: the watch, which scores all of them every 15 minutes and acts, and their daily scores."""

import dataclasses
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import EARLIEST
from crewflow_assets.integration_health.daily import unscored_days, write_scores
from crewflow_assets.integration_health.days import ATTEMPTS, DECISIONS
from crewflow_assets.lake.events import stale_days
from crewflow_assets.models import spec_named
from crewflow_assets.spec import ModelCode
from crewflow_assets.store.database import reading
from crewflow_assets.sync_health.integrations import number_of_integrations
from crewflow_assets.sync_health.watch import MODEL, answering_scorer, last_tick, tick
from pipelines.lake import ENDS, range_tags, this_hour, under_way

if TYPE_CHECKING:  # the code location loads without MLflow
    from crewflow_assets.registry import LoadedModel

SYNC_KINDS = ("sync_attempt", "api_status")
SCORED_KINDS = (ATTEMPTS, DECISIONS)
TICK = timedelta(minutes=15)
days_over = dg.DailyPartitionsDefinition(start_date=EARLIEST.date().isoformat(), timezone="UTC")
"""Without today, which would count as scored before it is over."""


class WatchConfig(dg.Config):
    """Which moment a run of the watch is for."""

    at: str | None = Field(
        None, description="The tick's moment, ISO 8601 with time zone; by default, and once it is past, now."
    )


def champion() -> "tuple[ModelCode, LoadedModel]":
    """Return the code of sync health and its champion.

    Raises:
        NotReadyError: no version is registered yet.
    """
    from crewflow_assets import registry

    spec = spec_named(MODEL)
    return spec.code(), registry.load(spec, registry.CHAMPION)


def _moment(config: WatchConfig) -> datetime:
    now = clock.now()
    try:
        planned = now if config.at is None else datetime.fromisoformat(config.at)
    except ValueError:
        planned = datetime.min  # noqa: DTZ901  # has no time zone either
    if planned.tzinfo is None:
        wanted = f"give a moment with its time zone, such as {now.isoformat(timespec='seconds')}"
        raise dg.Failure(f"at is {config.at!r}: {wanted}", allow_retries=False)
    return planned if timedelta(0) <= now - planned < TICK else now


@dg.asset(
    name="watch",
    key_prefix="integrations",
    group_name="integrations",
    description="The risk of every integration's next sync, and what was done about it: alerts, slower schedules, "
    "pauses. Running a tick again changes nothing; one from before the last, which ran late, is skipped.",
    deps=[dg.AssetKey(["lake", kind]) for kind in SYNC_KINDS] + [dg.AssetKey([MODEL, "champion"])],
    kinds={"python"},
)
def watch(context: dg.AssetExecutionContext, config: WatchConfig) -> dg.MaterializeResult[None]:
    """Score with the champion, which takes up from the inbox what the lake has not yet, and act."""
    code, loaded = champion()
    at = _moment(config)
    with reading() as session:
        last = last_tick(session)
    if last is not None and at < last <= clock.now():
        said = f"integrations were watched at {last.isoformat()}, after this tick"
        context.log.info("skipped: %s", said)
        return dg.MaterializeResult(metadata={"at": at.isoformat(), "skipped": said})
    scorer = answering_scorer(lambda requests: code.answer(loaded.predictor, requests))
    report = tick(scorer, at, model_version=loaded.label)
    return dg.MaterializeResult(metadata={"at": at.isoformat(), "version": loaded.label} | dataclasses.asdict(report))


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # said of the backfill policy

    @dg.asset(
        name="daily_scores",
        key_prefix="integrations",
        group_name="integrations",
        description="The health score of every integration as of the end of each UTC day, over the 30 days before.",
        deps=[dg.AssetKey(["lake", kind]) for kind in SCORED_KINDS],
        partitions_def=days_over,
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"duckdb"},
    )
    def daily_scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        """Score a day, or a range of days in one run."""
        chosen = [date.fromisoformat(day) for day in context.partition_keys]
        rows = write_scores(chosen)
        return dg.MaterializeResult(metadata={"dagster/row_count": rows, "days": len(chosen)})


watch_job = dg.define_asset_job(
    "integrations_watch",
    selection=dg.AssetSelection.assets(watch),
    description="Score all integrations and act on the scores.",
    tags={"dagster/max_runtime": str(60 * 60)},
)
scores_job = dg.define_asset_job(
    "integrations_daily_scores",
    selection=dg.AssetSelection.assets(daily_scores),
    description="Score days of all integrations.",
    tags=ENDS,
)


@dg.schedule(
    name="integrations_watch_schedule",
    job=watch_job,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A tick of the watch every 15 minutes, as soon as integrations and a champion are there.",
)
def watch_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request the tick of the scheduled moment."""
    from crewflow_assets import registry

    with reading() as session:
        if not number_of_integrations(session):
            return dg.SkipReason("no integration is known yet; they become so with their first sync_attempt event")
    if registry.CHAMPION not in registry.alias_numbers(spec_named(MODEL)):
        return dg.SkipReason(f"{MODEL} has no champion yet; its schedule or `crewflow demo` trains it first")
    at = context.scheduled_execution_time.isoformat()
    return dg.RunRequest(run_key=at, run_config=dg.RunConfig(ops={"integrations__watch": WatchConfig(at=at)}))


@dg.sensor(
    name="integrations_unscored_days",
    job=scores_job,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for the scores of days that are over, once the lake holds all their sync attempts and "
    "conflict decisions.",
)
def unscored(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request the unscored days in one run, whole or not at all: days before a scored one are not looked for."""
    with reading() as session:
        missing = unscored_days(session)
        stale = {
            kind: sum(day <= missing[-1] for day in stale_days(session, kind)) for kind in SCORED_KINDS if missing
        }
    waiting = [
        f"{days} {'day' if days == 1 else 'days'} of {kind.replace('_', ' ')}s"
        for kind, days in stale.items()
        if days
    ]
    if not missing:
        yield dg.SkipReason("every day that is over is scored")
    elif waiting:
        yield dg.SkipReason(f"waiting until the lake has taken up {' and '.join(waiting)}")
    elif under_way(context.instance, scores_job.name):
        yield dg.SkipReason("waiting for a run under way, which scores days")
    else:
        key = f"{missing[0]}/{missing[-1]}/{this_hour()}"
        yield dg.RunRequest(run_key=key, tags=range_tags(missing[0], missing[-1]))
