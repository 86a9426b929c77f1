from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from benchmarks import sync_online, sync_watch
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Event


def test_predictions_are_timed_while_events_come_in(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_watch, "TRAINED_ON", (30, 8))
    monkeypatch.setattr(
        sync_online, "CASES", (("soon", timedelta(minutes=2), 3), ("later", timedelta(minutes=30), 2))
    )
    soon, later = sync_online.measure(40, days=3, progress=False)
    assert (soon["predictions"], later["predictions"]) == (3, 2)
    assert 0 < soon["p50_ms"] <= soon["p99_ms"] <= soon["max_ms"]
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == soon["events"] + later["events"] > 40
