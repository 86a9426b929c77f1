"""Companies with and without automatic resolution, on both databases where locks and statements matter."""

import pytest
from sqlalchemy import Engine

from crewflow_assets.settings import get_settings
from tests.conflict_resolution.deciding import COMPANY, add_companies, switch


@pytest.fixture
def deciding(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Company c-1 lets the model decide about hours; nothing is withheld."""
    return _prepare(sqlite_store, monkeypatch)


@pytest.fixture
def deciding_everywhere(store: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """As ``deciding``, on SQLite and again on PostgreSQL."""
    return _prepare(store, monkeypatch)


def _prepare(store: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0")
    get_settings.cache_clear()
    add_companies(COMPANY)
    switch()
    return store
