from datetime import timedelta

import numpy as np

from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.lake.columns import event_schema
from crewflow_assets.twin.sync.attempts import Attempts
from crewflow_assets.twin.sync.history import attempt_table, events_of, status_table
from crewflow_assets.twin.sync.world import SyncWorld, run, standard_draw
from tests.twin.sync.conftest import START


def test_tables_have_the_lakes_columns(stepped: tuple[SyncWorld, Attempts]) -> None:
    world, attempts = stepped
    table = attempt_table(world, attempts)
    assert table.schema == event_schema("sync_attempt")
    assert table.num_rows == len(attempts)
    assert len(set(table["event_id"].to_pylist())) == table.num_rows
    assert status_table(world).schema == event_schema("api_status")


def test_every_row_is_a_valid_event(stepped: tuple[SyncWorld, Attempts]) -> None:
    world, attempts = stepped
    failed = np.flatnonzero(~attempts.ok)[:400]
    chosen = attempts.where(np.concatenate([np.arange(400), failed]))
    until = START + timedelta(days=30)
    events = list(events_of("sync_attempt", attempt_table(world, chosen), until=until))
    events += events_of("api_status", status_table(world), until=until)
    assert len(events) > 800
    for event in events:
        PAYLOADS[event.kind].model_validate(event.payload)
        assert START <= event.occurred_at < START + timedelta(days=21)


def test_what_happens_after_the_end_is_left_out(stepped: tuple[SyncWorld, Attempts]) -> None:
    world, attempts = stepped
    first = attempts.where(attempts.tick < 10)
    until = START + timedelta(hours=1)
    events = list(events_of("sync_attempt", attempt_table(world, first), until=until))
    assert 0 < len(events) < len(first)
    assert max(event.occurred_at for event in events) <= until


def test_only_apis_that_say_so_report_the_calls_that_are_left(stepped: tuple[SyncWorld, Attempts]) -> None:
    world, attempts = stepped
    rows = attempt_table(world, attempts.where(attempts.tick < 60)).to_pylist()
    limits = {row["system"]: row["calls_limit"] for row in rows}
    assert limits == {"quickbooks": None, "sage": 2500, "xero": 5000}
    assert all(row["calls_left"] is None for row in rows if row["system"] == "quickbooks")
    reported = [row for row in rows if row["calls_left"] is not None]
    assert reported
    assert all(0 <= row["calls_left"] <= row["calls_limit"] for row in reported)


def test_draws_side_by_side_never_mix_in_the_tables() -> None:
    world = SyncWorld([standard_draw(1, 4), standard_draw(2, 4)], start=START, days=1)
    rows = attempt_table(world, run(world)).to_pylist()
    assert {row["integration_id"].split("-")[0] for row in rows} == {"d0", "d1"}
    for row in rows:
        draw = row["integration_id"].split("-")[0]
        assert row["company_id"].startswith(draw)
        assert row["system"].endswith(f"_{draw}")
    assert {row["event_id"] for row in status_table(world).to_pylist()} & {
        "quickbooks_d0-status-0",
        "xero_d1-status-0",
    }
