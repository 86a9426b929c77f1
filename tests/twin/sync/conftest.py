"""One simulated world that several tests look at."""

from datetime import UTC, datetime

import pytest

from crewflow_assets.twin.sync.attempts import Attempts
from crewflow_assets.twin.sync.world import SyncWorld, run, standard_draw

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="session")
def stepped() -> tuple[SyncWorld, Attempts]:
    """A world of 150 integrations that was stepped through 21 days without a policy."""
    world = SyncWorld([standard_draw(11, 150)], start=START, days=21)
    return world, run(world)
