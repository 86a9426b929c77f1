"""The benchmark of the watch measures ticks that do what they say."""

import pytest
from sqlalchemy import Engine

from benchmarks import sync_watch
from benchmarks.sync_watch import CASES, measure, measure_scoring


def test_the_cases_do_what_they_are_called(store: Engine) -> None:
    records = measure(50, progress=False)
    assert [record["case"] for record in records] == [name for name, _, _ in CASES]
    decided = [record["actions"] + record["withheld"] for record in records]
    assert decided == [0, 1, 49, 0, 0]
    assert records[-1]["ended"] == sum(record["actions"] for record in records)
    assert all(record["seconds"] > 0 for record in records)


def test_a_model_scores_simulated_integrations(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_watch, "TRAINED_ON", (30, 8))
    records = measure_scoring(40, 2, progress=False)
    assert [record["integrations"] for record in records] == [40, 40]
    for record in records:
        assert record["attempts"] > 40
        assert 0 < record["scoring_seconds"] < record["seconds"]
