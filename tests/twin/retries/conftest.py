"""One simulated world whose failed calls several tests retry."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from crewflow_assets.twin.retries.parameters import DEFAULTS
from crewflow_assets.twin.retries.record import record
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.outages import Kind, Phase
from crewflow_assets.twin.sync.world import Draw, SyncWorld, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)
DOWN_FROM, DOWN_UNTIL = 2 * 1440 + 600.0, 2 * 1440 + 780.0
"""An outage of QuickBooks put in by hand: three hours of the third day, for everybody."""


def retry_world(seed: int = 11, integrations: int = 60, days: int = 6) -> RetryWorld:
    plain = standard_draw(seed, integrations)
    down = Phase(Kind.OUTAGE, DOWN_FROM, DOWN_UNTIL, failing=1.0, latency=3.0)
    draws: Sequence[Draw] = [Draw(seed, plain.customers, plain.parameters, {"quickbooks": [down]})]
    return RetryWorld(record(SyncWorld(draws, start=START, days=days)), [DEFAULTS])


@pytest.fixture(scope="session")
def failed() -> RetryWorld:
    """A world of 60 integrations and 6 days."""
    return retry_world()
