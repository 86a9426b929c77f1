"""When models are trained: a job and a schedule for each spec, sensors for the causes it names, and one that retries.

Whatever notices a cause records it as a claim before it asks for a run, so that a tick that dies loses nothing.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
from sqlalchemy import select

from crewflow_assets import clock, promotion
from crewflow_assets.lifecycle import REASON_TAG, WATERMARK_TAG, WHY_TAG, model_assets
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.spec import EventTrigger, ModelSpec
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Event
from crewflow_assets.store.training_tables import TrainingClaim
from crewflow_assets.training import claims
from crewflow_assets.training.claims import Cause, ClaimState, RunState
from crewflow_assets.training.moves import switch
from crewflow_assets.training.triggers import judge, last_training, window_begin

ATTEMPT_TAG = "crewflow/attempt"
CAUSE_TAG = "crewflow/cause"
RUN_STATES = {
    dg.DagsterRunStatus.SUCCESS: RunState.SUCCEEDED,
    dg.DagsterRunStatus.FAILURE: RunState.FAILED,
    dg.DagsterRunStatus.CANCELED: RunState.CANCELED,
}
logger = logging.getLogger("crewflow.training")
assets_and_checks = {spec.name: model_assets(spec) for spec in MODEL_SPECS}


def training_job(spec: ModelSpec) -> Any:
    """Make the job that takes a model from events to champion."""
    return dg.define_asset_job(
        job_name(spec.name),
        selection=dg.AssetSelection.groups(spec.name),
        description=f"Features, checks, candidate, evaluation and champion of {spec.name}.",
        # claims try again, after a pause and up to a limit
        tags={"crewflow/model": spec.name, "dagster/max_retries": "0"},
    )


def job_name(model: str) -> str:
    """Return the name of a model's training job."""
    return f"{model}_training"


training_jobs = {spec.name: training_job(spec) for spec in MODEL_SPECS}


def run_request(claim_of: Cause, *, why: str, attempt: int) -> dg.RunRequest:
    """Return the request for an attempt's run, which Dagster carries out once."""
    tags = {
        REASON_TAG: claim_of.reason,
        WATERMARK_TAG: claim_of.watermark,
        WHY_TAG: why,
        CAUSE_TAG: str(claim_of),
        ATTEMPT_TAG: str(attempt),
    }
    return dg.RunRequest(run_key=f"{claim_of}/{attempt}", job_name=job_name(claim_of.model), tags=tags)


def request_once(spec: ModelSpec, cause: Cause, why: str) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Record a cause and ask for its run; one known before, or that has to wait, is left to `unfinished_sensor`."""
    with transaction() as session:
        switch(session, spec)  # a model's causes are recorded one after the other
        new = claims.request(session, cause, why=why)
        known = session.get_one(TrainingClaim, (cause.model, cause.reason, cause.watermark))
        first = claims.under_way(session, cause.model)
        standing = claims.standing(known) if first in (None, known) else waits_for(first)
    if new and first is known:
        yield run_request(cause, why=why, attempt=1)
    else:
        yield dg.SkipReason(f"{why}; {standing}")


def waits_for(claim: TrainingClaim) -> str:
    """Say which training others of its model wait for."""
    return f"a training is under way ({claims.cause_of(claim)}: {claims.standing(claim)})"


def training_schedule(spec: ModelSpec) -> dg.ScheduleDefinition:
    """Make the schedule of a model's regular training."""

    @dg.schedule(
        name=f"{spec.name}_schedule",
        job_name=job_name(spec.name),
        cron_schedule=spec.retrain_cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Retrains {spec.name} regularly.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        at = context.scheduled_execution_time.isoformat()
        with reading() as session:
            kinds = Event.kind.in_(spec.event_kinds)
            if session.scalar(select(Event.id).where(kinds).limit(1)) is None:
                shown = ", ".join(spec.event_kinds)
                yield dg.SkipReason(
                    f"there are no events to learn from ({shown}); import data or run `crewflow demo`"
                )
                return
        yield from request_once(spec, Cause(spec.name, "schedule", at), f"scheduled for {at}")

    return schedule


def trigger_sensor(spec: ModelSpec, trigger: EventTrigger, *, seconds: int = 30) -> dg.SensorDefinition:
    """Make the sensor that asks for training when the events of a trigger exceed its number."""

    @dg.sensor(
        name=f"{spec.name}_{trigger.reason}",
        job_name=job_name(spec.name),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains {spec.name} after more than {trigger.more_than} {trigger.noun or trigger.reason} in "
        f"{trigger.window_days} days, counted for each company or system since the data of the last training ended.",
    )
    def sensor(_context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = clock.now()
        with reading() as session:
            if (first := claims.under_way(session, spec.name)) is not None:  # its data may hold the same events
                yield dg.SkipReason(waits_for(first))
                return
            last = last_training(session, spec)
            if last is None:
                yield dg.SkipReason(f"{spec.name} was never trained; its schedule or `crewflow demo` trains it first")
                return
            counts = trigger.counts(session, last.data_until, window_begin(trigger, now))
        verdict = judge(trigger, now, counts, last)
        if verdict.fire:
            cause = Cause(spec.name, trigger.reason, last.data_until.isoformat())
            yield from request_once(spec, cause, verdict.said)
        else:
            yield dg.SkipReason(verdict.said)

    return sensor


def unfinished_sensor(
    specs: Iterable[ModelSpec],
    jobs: Iterable[Any],
    *,
    seconds: int = 30,
    lease: timedelta = claims.LEASE,
    pauses: tuple[timedelta, ...] = claims.PAUSES,
) -> dg.SensorDefinition:
    """Make the sensor that finishes what others left: claims without a living run, and half moves of aliases."""
    of_models = tuple(specs)

    @dg.sensor(
        name="unfinished_trainings",
        jobs=list(jobs),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for trainings that failed, died or never began; completes interrupted promotions.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        said, asked = [], False
        for cause, step, attempt in settle_claims(context.instance, lease=lease, pauses=pauses):
            said.append(f"{cause}: {step.said}")
            if step.action == "run":
                asked = True
                yield run_request(cause, why=step.said, attempt=attempt)
        said += complete_promotions(of_models)
        if not asked:
            yield dg.SkipReason("; ".join(said) or "every training that was asked for is done")

    return sensor


def complete_promotions(specs: Iterable[ModelSpec]) -> list[str]:
    """Complete the interrupted promotions of each model; say of which, and of which not, and why."""
    said = []
    for spec in specs:
        try:
            if promotion.reconcile(spec):
                said.append(f"an interrupted promotion of {spec.name} was completed")
        except Exception as error:  # whatever the registry raises must not hold the other models up
            logger.exception("an interrupted promotion of %s could not be completed", spec.name)
            said.append(f"an interrupted promotion of {spec.name} could not be completed: {error!r}")
    return said


def settle_claims(
    instance: dg.DagsterInstance, *, lease: timedelta, pauses: tuple[timedelta, ...]
) -> list[tuple[Cause, claims.Step, int]]:
    """Look after every open claim; return what was found, with the number of the attempt that is next."""
    found = []
    dead: list[str] = []
    with transaction() as session:
        for claim in claims.open_claims(session):
            run = present_run(instance, claim)
            state = RUN_STATES.get(run.status, RunState.ALIVE) if run else RunState.UNKNOWN
            step = claims.next_step(claim, clock.now(), state, lease=lease)
            if step.action == "give back":
                if run and state is RunState.ALIVE:
                    dead.append(run.run_id)
                claims.give_back(session, claim, step.said, pauses=pauses)
                step = claims.Step("wait", f"{step.said}; {claims.standing(claim)}")
            elif step.action == "run":
                first = claims.under_way(session, claim.model)
                if first is not None and first is not claim:
                    step = claims.Step("wait", waits_for(first))
                elif claims.end_with_another(session, claim):
                    step = claims.Step("wait", claims.standing(claim))
            found.append((claims.cause_of(claim), step, claim.attempts + 1))
    for run_id in dead:  # it would keep its place among the concurrent runs
        if (run := instance.get_run_by_id(run_id)) and not run.is_finished:
            instance.report_run_failed(run, "The run gave no sign of life; its training begins anew in another one.")
    return found


def present_run(instance: dg.DagsterInstance, claim: TrainingClaim) -> dg.DagsterRun | None:
    """Return the run of a claim's present attempt: the one that holds it, or the one that was asked for next."""
    if claim.state == ClaimState.RUNNING:
        return instance.get_run_by_id(claim.run_id or "")
    tags = {CAUSE_TAG: str(claims.cause_of(claim)), ATTEMPT_TAG: str(claim.attempts + 1)}
    return next(iter(instance.get_runs(dg.RunsFilter(tags=tags), limit=1)), None)


training_schedules = [training_schedule(spec) for spec in MODEL_SPECS]
training_sensors = [
    *(trigger_sensor(spec, trigger) for spec in MODEL_SPECS for trigger in spec.triggers),
    unfinished_sensor(MODEL_SPECS, training_jobs.values()),
]
