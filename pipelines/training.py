"""When models are trained: a job and a schedule for each spec, and sensors for the causes that it names."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from crewflow_assets import clock
from crewflow_assets.lake.events import stale_days
from crewflow_assets.lifecycle import model_assets
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.spec import EventTrigger, ModelSpec
from crewflow_assets.store.database import reading

assets_and_checks = {spec.name: model_assets(spec) for spec in MODEL_SPECS}


def training_job(spec: ModelSpec) -> Any:
    """Make the job that takes a model from events to champion."""
    return dg.define_asset_job(
        f"{spec.name}_training",
        selection=dg.AssetSelection.groups(spec.name),
        description=f"Features, checks, candidate, evaluation and champion of {spec.name}.",
        tags={"crewflow/model": spec.name},
    )


training_jobs = {spec.name: training_job(spec) for spec in MODEL_SPECS}

training_schedules = [
    dg.ScheduleDefinition(
        name=f"{spec.name}_schedule",
        job=training_jobs[spec.name],
        cron_schedule=spec.retrain_cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        tags={"crewflow/reason": "schedule"},
    )
    for spec in MODEL_SPECS
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trigger asks for training, for which companies' sake, and the sentence that its tick shows."""

    fire: bool
    said: str


def judge(trigger: EventTrigger, counts: dict[str, int], *, version: str, since: datetime) -> Verdict:
    """Decide from the counts by company whether to retrain; a pure function of its arguments."""
    if not counts:
        return Verdict(False, f"no {trigger.reason} since {since:%Y-%m-%d %H:%M} (version {version})")
    company, most = max(counts.items(), key=lambda item: (item[1], item[0]))
    said = f"{most} {trigger.reason} of {company} since version {version}; more than {trigger.more_than} retrain"
    return Verdict(most > trigger.more_than, said)


def trigger_sensor(spec: ModelSpec, trigger: EventTrigger) -> dg.SensorDefinition:
    """Make the sensor that asks for training when the events of a trigger exceed its number."""

    @dg.sensor(
        name=f"{spec.name}_{trigger.reason}",
        job=training_jobs[spec.name],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains {spec.name} after more than {trigger.more_than} {trigger.reason} of one company in "
        f"{trigger.window_days} days, counted since the data of the newest version ended.",
    )
    def sensor(_context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from crewflow_assets import registry

        versions = [v for v in registry.describe(spec) if v.tags[registry.ROLE] == "candidate"]
        if not versions:
            yield dg.SkipReason(f"{spec.name} was never trained; its schedule or `crewflow demo` trains it first")
            return
        newest = max(versions, key=lambda version: version.data_until)
        window_begins = clock.now() - timedelta(days=trigger.window_days)
        since = max(newest.data_until, window_begins)
        with reading() as session:
            counts = dict(trigger.counts(session, newest.data_until, window_begins))
            waiting = sum(len(stale_days(session, kind)) for kind in spec.event_kinds)
        verdict = judge(trigger, counts, version=newest.label, since=since)
        if not verdict.fire:
            yield dg.SkipReason(verdict.said)
        elif waiting:
            yield dg.SkipReason(f"{verdict.said}; waiting until the lake has taken up {waiting} days of events")
        else:
            watermark = newest.data_until.isoformat()
            yield dg.RunRequest(
                run_key=f"{spec.name}/{trigger.reason}/{watermark}",
                tags={"crewflow/reason": trigger.reason, "crewflow/why": verdict.said},
            )

    return sensor


training_sensors = [trigger_sensor(spec, trigger) for spec in MODEL_SPECS for trigger in spec.triggers]
