"""Small sets: firms and codes are drawn whole; every method is asked the same."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import mapping, mapping_simulated, mapping_small
from benchmarks.mapping_data import Task
from benchmarks.mapping_simulated import one_chart
from benchmarks.mapping_small import drawn, print_small
from crewflow_assets.cost_code_mapping.text import normalised

SEED = 401


@pytest.fixture(scope="module")
def task() -> Task:
    return one_chart(SEED)


def test_a_drawn_set_keeps_what_each_code_accepts(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRMS", 3), ("CODES", 12), ("WIDTH", 50)):
        monkeypatch.setattr(mapping_small, name, value)
    small = drawn(task, 1)
    assert len(small.folds) == 3
    assert len(small.labels) == 36
    assert len(small.chart) == 50

    def filed(one: Task) -> set[tuple[str, str, str]]:
        named = [one.chart.targets[label].name for label in one.labels]
        return {(f, q.source.code, n) for f, q, n in zip(one.firms, one.queries, named, strict=True)}

    assert filed(small) <= filed(task)
    assert all(label in accepted for label, accepted in zip(small.labels, small.accepted, strict=True))
    assert len(set(drawn(task, 2).firms) | set(small.firms)) > 3


def test_prints_every_method_on_simulated_firms_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRMS", 2), ("CODES", 12)):
        monkeypatch.setattr(mapping_simulated, name, value)
    monkeypatch.setattr(mapping, "REPEATS", 1)
    monkeypatch.setattr(mapping_small, "simulated", lambda _count, _progress: None)
    app = typer.Typer()
    app.command()(mapping_small.main)
    result = CliRunner().invoke(app, ["--draws", "1"])
    assert result.exit_code == 0, result.output
    assert "simulated firms, one chart: 2 held-out firms" in result.output
    assert "simulated firms, one chart+own25: 2 held-out firms" in result.output
    assert "| ours |" in result.output
    assert "| own majority |" in result.output


def test_names_that_several_firms_hold_are_not_unseen(task: Task) -> None:
    spoken = [normalised(query.source.name) for query in task.queries]
    for i, name in enumerate(spoken):
        elsewhere = {firm for firm, other in zip(task.firms, spoken, strict=True) if other == name} - {task.firms[i]}
        assert task.unseen[i] == (not elsewhere), name
    assert not task.unseen.all()


def test_a_list_of_small_firms_is_skipped_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets_x.csv").write_text("code,name\n1,Concrete\n2,Masonry\n")
    rows = {"few": [("a", 19), ("b", 15)], "many": [("a", 20), ("b", 15)]}
    for name, firms in rows.items():
        lines = [f"{firm},item {i},{1 + i % 2}" for firm, count in firms for i in range(count)]
        (tmp_path / f"{name}_to_x.csv").write_text("\n".join(["company,source_name,target_code", *lines]))
    asked: list[str] = []

    def run_task(one: Task, *_: object, **__: object) -> list[object]:
        asked.append(one.name)
        return []

    monkeypatch.setattr(mapping_small, "run_task", run_task)
    monkeypatch.setattr(mapping_small, "simulated", lambda _count, _progress: None)
    app = typer.Typer()
    app.command()(mapping_small.main)
    result = CliRunner().invoke(app, ["--data", str(tmp_path), "--draws", "1"])
    assert result.exit_code == 0, result.output
    assert "skipped few_to_x: no firm has 20 codes or more" in " ".join(result.output.split())
    assert asked == ["simulated firms, one chart", "many_to_x"]


def test_prints_nothing_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_small([])
    assert capsys.readouterr().out == ""


def test_a_folder_without_lists_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(mapping_small.main)
    found = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert found.exit_code == 2
    assert "holds no task" in " ".join(found.output.split())
