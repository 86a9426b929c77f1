"""A company for whose events the lake is tested."""

import pytest
from sqlalchemy import Engine

from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Company
from tests.lake.days import NOON


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        session.add(Company(id="c-1", name="Test", industry="electrical", created_at=NOON))
    return "c-1"
