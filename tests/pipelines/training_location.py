"""A code location with one tiny model, for a real daemon: the real sensors and claims, and a training of no work.

The first training that begins never ends; whoever kills it may watch the next one.
"""

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.lifecycle import REASON_TAG, WATERMARK_TAG
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import EventTrigger, ModelSpec
from crewflow_assets.store.tables import Company
from crewflow_assets.training import claims
from crewflow_assets.training.claims import Cause
from pipelines.training import training_job, trigger_sensor, unfinished_sensor

LEASE = timedelta(seconds=4)


def companies(session: Session, _received: datetime, _occurred: datetime) -> dict[str, int]:
    return {"the platform": session.scalar(select(func.count()).select_from(Company)) or 0}


TINY = ModelSpec(
    **{name: getattr(CONFLICT_RESOLUTION, name) for name in ModelSpec.__dataclass_fields__ if name != "name"}
    | {"name": "tiny", "triggers": (EventTrigger("burst", companies, more_than=20, window_days=30),)}
)


@dg.asset(group_name="tiny", output_required=False)
def training(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    tags, run_id = context.run.tags, context.run.run_id
    cause = Cause("tiny", tags[REASON_TAG], tags[WATERMARK_TAG])
    if claims.take(cause, run_id, why="", lease=LEASE) is None:
        return
    with claims.working(cause, run_id, beat_seconds=0.5):
        begun = get_settings().root / "begun.txt"
        first = not begun.exists()
        with begun.open("a") as file:
            file.write(f"{os.getpid()}\n")
        while first:
            time.sleep(1)
    claims.finish(cause, run_id, version="1.1", data_until=clock.now())
    yield dg.MaterializeResult()


job = training_job(TINY)
defs = dg.Definitions(
    assets=[training],
    jobs=[job],
    sensors=[
        trigger_sensor(TINY, TINY.triggers[0], seconds=1),
        unfinished_sensor([TINY], [job], seconds=1, lease=LEASE, pauses=(timedelta(0),)),
    ],
    executor=dg.in_process_executor,
)
