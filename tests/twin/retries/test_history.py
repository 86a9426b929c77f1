from datetime import timedelta

import numpy as np
from sqlalchemy import Engine, func, select

from crewflow_assets import clock
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.lake.columns import event_schema
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company, Event
from crewflow_assets.twin.retries.filling import write_retries
from crewflow_assets.twin.retries.history import retry_table
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import Explorer
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.history import attempt_table, events_of
from tests.twin.retries.conftest import START, retry_world


def test_every_retry_is_a_valid_event_of_the_lakes_shape(failed: RetryWorld) -> None:
    log = play(failed, Explorer(failed)).log
    table = retry_table(failed, log)
    assert table.schema == event_schema("retry_outcome")
    assert table.num_rows == len(log) == len(set(table["event_id"].to_pylist()))
    for event in list(events_of("retry_outcome", table, until=START + timedelta(days=30)))[:500]:
        payload = PAYLOADS["retry_outcome"].model_validate(event.payload)
        assert getattr(payload, "propensity") > 0  # noqa: B009


def test_a_call_is_named_after_the_sync_that_failed(failed: RetryWorld) -> None:
    log = play(failed, Explorer(failed)).log
    rows = retry_table(failed, log).to_pandas()
    syncs = attempt_table(failed.recorded.world, failed.recorded.attempts).to_pandas().set_index("event_id")
    first = rows[rows["attempt"] == 1]
    named = syncs.loc[first["call_id"]]
    assert not named["ok"].any()
    assert (named["error_class"].to_numpy() == first["error_class"].to_numpy()).all()
    failed_at = first["occurred_at"] - first["delay_seconds"].map(lambda seconds: timedelta(seconds=seconds))
    assert np.abs((failed_at.to_numpy() - named["occurred_at"].to_numpy()) / np.timedelta64(1, "ms")).max() < 2


def test_the_past_is_written_up_to_now(sqlite_store: Engine) -> None:
    world = retry_world(5, 6, 3)
    end = START + timedelta(days=2, hours=5)
    with clock.fixed(end):
        with transaction() as session:
            for customer in world.fleet.customers:
                session.add(
                    Company(id=customer.company_id, name=customer.company_id, industry="electrical", created_at=START)
                )
        written = write_retries(world.recorded, end=end, handlers={})
    with reading() as session:
        count, last = session.execute(select(func.count(), func.max(Event.occurred_at))).one()
    assert count == written > 0
    assert last <= end
