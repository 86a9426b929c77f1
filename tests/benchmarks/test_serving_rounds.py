"""Servers of the serving benchmark are asked in turn: each with the same inputs, as often, and none always first."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.progress import Progress

from benchmarks.serving_cases import CASES, Inputs
from benchmarks.serving_figures import LOGS, SINGLE
from benchmarks.serving_load import Taken
from benchmarks.serving_rounds import LOADS, LOADS_BY_NAME, PAIR_SECONDS, Bench, Effort, Load, Loaded
from benchmarks.serving_servers import DESIGN, MLFLOW, OURS, UNGATHERED, UNLOGGED

EFFORT = Effort(rounds=3, seconds=5.0, pairs=4, probes=1, small=True, large=False)
BATCHES = {OURS: "/b", UNLOGGED: "/b", UNGATHERED: "/b", MLFLOW: "/b", DESIGN: None}


class Recorded(Bench):
    """Notes who is asked what; the nth ask answers one request in n seconds."""

    def __init__(self, name: str, home: Path) -> None:
        started: Any = {name: SimpleNamespace(server=SimpleNamespace(batch=path)) for name, path in BATCHES.items()}
        super().__init__(CASES[name], EFFORT, home, started)
        self.asked: list[tuple[str, Load, Inputs]] = []

    def ask(self, name: str, load: Load, inputs: Inputs) -> Loaded:
        self.asked.append((name, load, inputs))
        return Loaded(Taken(seconds=float(len(self.asked)), latencies=[0.5]), 0.25)

    def of(self, load: str) -> list[tuple[str, Inputs]]:
        return [(name, inputs) for name, asked, inputs in self.asked if asked.name == load]


@pytest.fixture(params=["cost_code_mapping", "retry_strategy"])
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_load_asks_the_servers_that_it_is_for_equally_often(case: str, tmp_path: Path) -> None:
    bench = Recorded(case, tmp_path)
    with Progress(disable=True) as progress:
        measured = bench.rounds(progress)
    loads = [load for load in LOADS if CASES[case].texts or not load.repeated]
    assert {one.load for one in measured} == {load.name for load in loads}
    for load in loads:
        single = {OURS, UNGATHERED, MLFLOW, DESIGN}
        expected = {OURS} if load.clients == 1 else {OURS, UNLOGGED} if load.paired else single
        expected = expected if load.rows == 1 or load.clients == 1 else {OURS, MLFLOW}
        rates = {one.server: one.rates for one in measured if one.load == load.name}
        assert rates.keys() == expected
        assert {len(each) for each in rates.values()} == {4 if load.paired else 3}


def test_none_is_always_first_and_all_get_the_same_inputs(tmp_path: Path) -> None:
    bench = Recorded("retry_strategy", tmp_path)
    with Progress(disable=True) as progress:
        bench.rounds(progress)
    assert [name for name, _ in bench.of(LOGS)] == [OURS, UNLOGGED, UNLOGGED, OURS] * 2
    single = bench.of(SINGLE)
    rounds = [single[start : start + 4] for start in (0, 4, 8)]
    assert [[name for name, _ in one] for one in rounds[:2]] == [
        [OURS, UNGATHERED, MLFLOW, DESIGN],
        [DESIGN, MLFLOW, UNGATHERED, OURS],
    ]
    for one in rounds:
        assert all(a == b for (_, a), (_, b) in pairwise(one))
    assert rounds[0][0][1] != rounds[1][0][1]


def test_pairs_are_short_and_rounds_as_long_as_asked() -> None:
    assert EFFORT.length(LOADS_BY_NAME[LOGS]) == PAIR_SECONDS
    assert EFFORT.length(LOADS_BY_NAME[SINGLE]) == 5.0
