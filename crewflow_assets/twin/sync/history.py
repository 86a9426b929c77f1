"""The world's history as the platform sees it: tables of the lake's shape, and events for ``ingest/``."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crewflow_assets.ingest.event_kinds import EventIn, EventKind
from crewflow_assets.lake.columns import event_schema
from crewflow_assets.twin.sync.attempts import ERRORS, Attempts
from crewflow_assets.twin.sync.parameters import SYSTEMS
from crewflow_assets.twin.sync.world import SyncWorld

if TYPE_CHECKING:  # the code location loads without it
    import pyarrow as pa

TRANSIT = timedelta(seconds=40)
"""From a sync to the moment at which its event is received."""
KEYS = ("event_id", "company_id", "occurred_at", "received_at")


def attempt_table(world: SyncWorld, attempts: Attempts) -> "pa.Table":
    """Return attempts as ``sync_attempt`` events with the lake's columns.

    Where a world has several draws, the ids and systems of draw 3 carry "d3", so that draws never mix.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    integrations, companies, systems = (pa.array(names) for names in names_of(world))
    who, error = pa.array(attempts.who), pa.array(attempts.error)
    failed = pa.array(~attempts.ok)
    micros = np.round(attempts.minute * 60e6).astype("timedelta64[us]")
    occurred = pa.array(_naive(world.start) + micros, pa.timestamp("us", tz="UTC"))
    integration = integrations.take(who)
    columns = {
        "event_id": pc.binary_join_element_wise(integration, pa.array(attempts.tick).cast(pa.string()), "-sync-"),
        "company_id": companies.take(who),
        "occurred_at": occurred,
        "received_at": pc.add(occurred, TRANSIT),
        "integration_id": integration,
        "system": systems.take(who),
        "ok": pa.array(attempts.ok),
        "latency_ms": pa.array(np.round(attempts.latency_ms.astype(float), 1)),
        "status_code": pa.array([kind.status for kind in ERRORS], pa.int64()).take(error),
        "error_class": pc.if_else(failed, pa.array([kind.name for kind in ERRORS]).take(error), None),
        "error_message": pc.if_else(failed, pa.array([kind.message for kind in ERRORS]).take(error), None),
        "network_latency_ms": pa.array(np.round(attempts.network_latency_ms.astype(float), 1)),
        "calls": pa.array(attempts.calls),
        "calls_left": _nullable(attempts.calls_left),
        "calls_limit": _nullable(np.where(world.reports_left, world.daily_limit, np.nan)).take(who),
        "rate_limit_hits": pa.array(attempts.hits),
        "retry_after_seconds": _nullable(attempts.retry_after_seconds),
        "records_failed": pa.array(attempts.records_failed),
        "grant_expires_in_seconds": _nullable(attempts.grant_seconds),
        "interval_minutes": pa.array(attempts.interval_minutes),
    }
    schema = event_schema("sync_attempt")
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def status_table(world: SyncWorld, *, servers: Sequence[int] | None = None) -> "pa.Table":
    """Return all that the status pages say as ``api_status`` events; those of some servers only, if they are named.

    A page is public, so one company of each system passes on what it says: the first.
    """
    import pyarrow as pa

    _, companies, systems = names_of(world)
    rows = []
    for server in range(len(world.servers.statuses)) if servers is None else servers:
        members = np.flatnonzero(world.fleet.server == server)
        if not len(members):
            continue
        first = int(members[0])
        for number, status in enumerate(world.servers.statuses[server]):
            moment = world.start + timedelta(minutes=status.minute)
            rows.append(
                {
                    "event_id": f"{systems[first]}-status-{number}",
                    "company_id": companies[first],
                    "occurred_at": moment,
                    "received_at": moment + TRANSIT,
                    "system": systems[first],
                    "status": status.status,
                }
            )
    return pa.Table.from_pylist(rows, schema=event_schema("api_status"))


def events_of(kind: EventKind, table: "pa.Table", *, until: datetime) -> Iterator[EventIn]:
    """Yield the rows of a table as events to post, up to a moment (aware), nulls left out."""
    for row in table.to_pylist():
        if row["occurred_at"] <= until:
            payload: dict[str, Any] = {
                name: value for name, value in row.items() if name not in KEYS and value is not None
            }
            yield EventIn(
                event_id=row["event_id"],
                kind=kind,
                company_id=row["company_id"],
                occurred_at=row["occurred_at"],
                payload=payload,
            )


def system_name(world: SyncWorld, server: int) -> str:
    """Return the name of a server's system, as events carry it."""
    draw, system = divmod(server, len(SYSTEMS))
    return SYSTEMS[system] if len(world.draws) == 1 else f"{SYSTEMS[system]}_d{draw}"


def names_of(world: SyncWorld) -> tuple[list[str], list[str], list[str]]:
    """Return the integration, company and system of each element of the fleet, as events carry them."""
    several = len(world.draws) > 1
    prefixes = [f"d{draw}-" if several else "" for draw in world.fleet.draw]
    pairs = list(zip(prefixes, world.fleet.customers, strict=True))
    return (
        [prefix + customer.integration_id for prefix, customer in pairs],
        [prefix + customer.company_id for prefix, customer in pairs],
        [system_name(world, int(server)) for server in world.fleet.server],
    )


def _naive(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")


def _nullable(values: npt.NDArray[np.floating[Any]]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(values.astype(float), mask=np.isnan(values))
