"""The retries of a world as the platform sees them: a table of the lake's shape."""

from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.lake.columns import event_schema
from crewflow_assets.twin.retries.bodies import BODIES
from crewflow_assets.twin.retries.chance import mixed
from crewflow_assets.twin.retries.play import RetryLog
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.history import TRANSIT, names_of

if TYPE_CHECKING:  # the code location loads without it
    import pyarrow as pa


def retry_table(world: RetryWorld, log: RetryLog) -> "pa.Table":
    """Return retries as ``retry_outcome`` events with the lake's columns.

    A call has the id of the sync attempt that failed first. Where a world has several draws, the ids and systems of
    draw 3 carry "d3", as in ``attempt_table``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    calls = world.calls
    integrations, companies, systems = (pa.array(names) for names in names_of(world.recorded.world))
    who = pa.array(calls.who[log.call])
    integration = integrations.take(who)
    tick = pa.array(calls.tick[log.call]).cast(pa.string())
    call_id = pc.binary_join_element_wise(integration, tick, "-sync-")
    numbers = (mixed(calls.key[log.call], log.attempt) % np.uint64(9000) + np.uint64(1000)).tolist()
    begins = np.datetime64(world.recorded.world.start.replace(tzinfo=None), "us")
    delay = np.round(log.delay_seconds, 6)  # exact, so that what happened before the failure can be told from later
    micros = np.round(log.failed_minute * 60e6) + np.round(delay * 1e6)
    occurred = pa.array(begins + micros.astype("timedelta64[us]"), pa.timestamp("us", tz="UTC"))
    body = pa.array(log.body)
    columns = {
        "event_id": pc.binary_join_element_wise(call_id, pa.array(log.attempt).cast(pa.string()), "-retry-"),
        "company_id": companies.take(who),
        "occurred_at": occurred,
        "received_at": pc.add(occurred, TRANSIT),
        "integration_id": integration,
        "system": systems.take(who),
        "call_id": call_id,
        "error_class": pa.array([one.error_class for one in BODIES]).take(body),
        "error_message": pa.array(
            [BODIES[place].text(number) for place, number in zip(log.body.tolist(), numbers, strict=True)]
        ),
        "status_code": pa.array([one.status for one in BODIES], pa.int64()).take(body),
        "error_code": pa.array([one.code for one in BODIES]).take(body),
        "write": pa.array(calls.write[log.call]),
        "idempotent": pa.array(calls.idempotent[log.call]),
        "retry_after_seconds": _nullable(log.retry_after_seconds),
        "latency_ms": pa.array(np.round(log.latency_ms, 1)),
        "attempt": pa.array(log.attempt),
        "delay_seconds": pa.array(delay),
        "ok": pa.array(log.ok),
        "propensity": _nullable(log.propensity),
    }
    schema = event_schema("retry_outcome")
    missing = pa.nulls(len(log))
    return pa.table(
        [columns.get(name, missing).cast(schema.field(name).type) for name in schema.names], schema=schema
    )


def _nullable(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> "pa.Array":
    import pyarrow as pa

    return pa.array(values, mask=np.isnan(values))
