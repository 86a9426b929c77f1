"""A company with items and accounts, and no decision."""

import pytest
from sqlalchemy import Engine

from crewflow_assets.store.database import transaction
from tests.cost_code_mapping.deciding import COMPANY
from tests.worlds import write_company


@pytest.fixture
def company(store: Engine) -> str:
    """The company, on SQLite and again on PostgreSQL."""
    with transaction() as session:
        write_company(session, COMPANY)
    return COMPANY


@pytest.fixture
def company_on_sqlite(sqlite_store: Engine) -> str:
    """The company on SQLite, for many questions where the database does not matter."""
    with transaction() as session:
        write_company(session, COMPANY)
    return COMPANY
