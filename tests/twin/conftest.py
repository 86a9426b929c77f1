from datetime import UTC, datetime

import pytest

from crewflow_assets.twin.records import Company
from crewflow_assets.twin.world import build_world

END = datetime(2025, 11, 20, 12, 0, tzinfo=UTC)
SEED = 11


@pytest.fixture(scope="session")
def end() -> datetime:
    return END


@pytest.fixture(scope="session")
def world() -> list[Company]:
    return list(build_world(seed=SEED, companies=60, end=END))
