"""Described some integrations at a time, attempts say what they say when all are described at once."""

from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc

from crewflow_assets.sync_health import events
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.parts import history_in_parts
from tests.sync_health.syncs import BEGIN, attempts, history, statuses

STATUS = statuses((BEGIN, "degraded"))


def in_order(found: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = found.sort_by(
        [("integration_id", "ascending"), ("event_id", "ascending")]
    ).to_pylist()
    return rows


def test_parts_are_whole_integrations_and_give_the_numbers_of_all_at_once() -> None:
    rows = attempts(history(seed=8, integrations=9, days=3))
    connection = ibis.duckdb.connect(threads=1)
    given = connection.create_table("given", rows), connection.create_table("told", STATUS)
    found = [part.to_pyarrow() for part in history_in_parts(*given, attempts_a_part=len(rows) // 2)]
    assert len(found) > 1
    whose = [set(part["integration_id"].to_pylist()) for part in found]
    assert sum(map(len, whose)) == len(set.union(*whose)) == 9
    assert in_order(pa.concat_tables(found)) == in_order(describe(rows, STATUS))


def test_without_what_came_of_all_attempts_a_part_would_not_know_its_neighbours() -> None:
    rows = attempts(history(seed=8, integrations=9, days=3))
    connection = ibis.duckdb.connect(threads=1)
    alone = rows.filter(pc.equal(rows["integration_id"], "i-1"))
    described = describe(alone, STATUS)
    whole = describe(rows, STATUS)
    whole = whole.filter(pc.equal(whole["integration_id"], "i-1"))
    assert in_order(described) != in_order(whole)
    counted = events.outcomes(connection.create_table("given", rows))
    table = connection.create_table("alone", alone)
    found = events.history(table, connection.create_table("told", STATUS), counted=counted)
    assert in_order(found.to_pyarrow()) == in_order(whole)
