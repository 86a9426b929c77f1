"""What the tests of sync health share."""

import pytest
from sqlalchemy import Engine

from crewflow_assets.settings import get_settings
from tests.sync_health.watching import COMPANY, NOON, add_companies, attempt, post


@pytest.fixture
def watched(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Company c-1 with the integration i-3, which synced five minutes ago; nothing is withheld."""
    prepare(monkeypatch)
    return sqlite_store


@pytest.fixture
def watched_everywhere(store: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """As ``watched``, on SQLite and again on PostgreSQL: where locks, indexes and bulk statements are tested."""
    prepare(monkeypatch)
    return store


def prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0")
    get_settings.cache_clear()
    add_companies(COMPANY)
    post(attempt(NOON.replace(hour=11, minute=55), interval_minutes=15))
