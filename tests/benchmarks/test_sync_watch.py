"""The benchmark of the watch measures ticks that do what they say."""

from sqlalchemy import Engine

from benchmarks.sync_watch import CASES, measure


def test_the_cases_do_what_they_are_called(store: Engine) -> None:
    records = measure(50, progress=False)
    assert [record["case"] for record in records] == [name for name, _, _ in CASES]
    decided = [record["actions"] + record["withheld"] for record in records]
    assert decided == [0, 1, 49, 0, 0]
    assert records[-1]["ended"] == sum(record["actions"] for record in records)
    assert all(record["seconds"] > 0 for record in records)
