"""The mapping benchmark on a small made-up directory: files read whatever they lack, held-out labels never seen."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.mapping_data import Task, discover, splits
from benchmarks.mapping_methods import Method, baselines, fit_confidence
from benchmarks.mapping_ours import Ours, Workbench

TRADES = {
    "Masonry": ("Brick", "Block", "Stone", "Mortar", "Masonry cleaning"),
    "Electrical": ("Wiring", "Light fixtures", "Conduit", "Panels", "Electrical demolition"),
    "Plumbing": ("Pipe", "Valves", "Water heater", "Drains", "Plumbing fixtures"),
    "Painting": ("Primer", "Interior paint", "Exterior paint", "Stain", "Wall paper"),
}
ACCOUNTS = {trade: str(5000 + 100 * place) for place, trade in enumerate(TRADES)}


def write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def mappings(firms: tuple[str, ...], key: str = "company") -> list[dict[str, str]]:
    return [
        {
            key: firm,
            "source_code": f"{firm[-1]}{place}-{10 + number}",
            "source_name": name if firm == "firm a" else f"{name} {firm[-1]}",
            "target_code": ACCOUNTS[trade],
        }
        for firm in firms
        for place, (trade, names) in enumerate(TRADES.items())
        for number, name in enumerate(names)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    chart = [
        {"code": code, "name": trade, "type": "Cost of Goods Sold", "parent_path": "Job costs > Trades"}
        for trade, code in ACCOUNTS.items()
    ]
    write(tmp_path / "targets_quickbooks.csv", chart)
    write(tmp_path / "company_to_quickbooks.csv", mappings(("firm a", "firm b", "firm c")))
    return tmp_path


def only_task(data: Path) -> Task:
    tasks, skipped = discover(data)
    assert not skipped
    [task] = tasks
    return task


def test_reads_a_chart_with_types_and_parents(data: Path) -> None:
    task = only_task(data)
    assert task.name == "company_to_quickbooks"
    assert task.folds == ["firm a", "firm b", "firm c"]
    assert task.chart.targets[0].parent == "Job costs:Trades"
    assert task.chart.targets[0].type == "Cost of Goods Sold"
    assert task.unseen.all()
    assert len(set(task.sections)) > 3


def test_reads_groups_instead_of_companies_and_every_accepted_target(data: Path) -> None:
    write(data / "targets_elements.csv", [{"code": "1.1", "name": "Walls"}, {"code": "1.10", "name": "Roof tiles"}])
    rows = [
        {
            "uniclass_group": f"G{i % 2}",
            "source_code": f"Ss_{i}",
            "source_name": f"System {i}",
            "source_context": f"Heading {i}",
            "target_code": "1.1",
            "all_targets": "1.10 Roof tiles; 1.1 Walls" if i else "",
        }
        for i in range(6)
    ]
    write(data / "uniclass_to_elements.csv", rows)
    [task] = discover(data, only="uniclass_to_elements")[0]
    assert task.accepted[0] == {0}
    assert task.accepted[1] == {0, 1}
    assert task.queries[1].source.group == "Heading 1"


def test_withholds_codes_that_spell_their_targets(data: Path) -> None:
    rows = [row | {"source_code": row["target_code"] + "-1"} for row in mappings(("firm a", "firm b"))]
    write(data / "company_to_quickbooks.csv", rows)
    task = only_task(data)
    assert {query.source.code for query in task.queries} == {""}
    assert "withheld" in task.notes[0]


def test_says_what_it_skips_and_why(data: Path) -> None:
    write(data / "company_to_nothing.csv", mappings(("firm a",)))
    write(data / "targets_unnamed.csv", [{"code": "1"}])
    write(data / "company_to_unnamed.csv", mappings(("firm a",)))
    write(data / "list_to_quickbooks.csv", [{"source_name": "Brick", "target_code": "5000"}])
    tasks, skipped = discover(data)
    assert [task.name for task in tasks] == ["company_to_quickbooks"]
    assert len(skipped) == 3
    assert "targets_nothing.csv" in skipped[0]
    assert "company" in skipped[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        ("source_name,target_code,company\nMat\xe9riel,5000,firm a\n".encode("latin-1"), "it is not UTF-8"),
        (b'source_name,target_code,company\n"Pipe,5000,firm a\n', "it is no CSV file"),
    ],
)
@pytest.mark.parametrize("name", ["company_to_quickbooks.csv", "targets_quickbooks.csv"])
def test_a_file_that_cannot_be_read_is_skipped_by_its_name(data: Path, name: str, content: bytes, said: str) -> None:
    (data / name).write_bytes(content)
    tasks, [skipped] = discover(data)
    assert not tasks
    assert skipped.startswith("company_to_quickbooks.csv: ")
    assert f"{name} cannot be read: {said}" in skipped


def test_a_data_set_that_is_not_there_is_named_with_those_that_are(data: Path) -> None:
    from benchmarks.mapping import app

    found = CliRunner().invoke(app, ["--data", str(data), "--only", "nosuch"])
    assert found.exit_code == 2
    assert "no data set 'nosuch'; there are company_to_quickbooks" in " ".join(found.output.split())


@pytest.mark.parametrize("repeats", [0, 1])
def test_no_method_sees_a_label_that_is_held_out(data: Path, repeats: int) -> None:
    task = only_task(data)
    for split in splits(task, "firm b", repeats=repeats):
        assert not set(split.asked) & set(split.seen)
        labels = task.labels.copy()
        labels[split.asked] = np.random.default_rng(0).permutation(labels[split.asked][::-1])
        shuffled = replace(task, labels=labels, accepted=tuple(frozenset([label]) for label in labels))

        def methods(task: Task) -> list[Method]:
            return [*baselines(task, warm=bool(repeats)), Ours(Workbench(task))]

        for before, after in zip(methods(task), methods(shuffled), strict=True):
            np.testing.assert_array_equal(before.scores(split), after.scores(split), err_msg=before.name)
            practised = [fit_confidence(task, *before.practice("firm b", bool(repeats)))]
            practised += [fit_confidence(shuffled, *after.practice("firm b", bool(repeats)))]
            np.testing.assert_array_equal(practised[0].weights, practised[1].weights, err_msg=before.name)


def test_runs_and_writes_a_record_for_each_method_and_firm(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import mapping, mapping_simulated

    monkeypatch.setattr(mapping, "QUICK_WORLD", 2)
    monkeypatch.setattr(mapping_simulated, "CODES", 12)
    write(data / "company_to_quickbooks.csv", [*mappings(("firm a", "firm b")), *mappings(("firm z",))[:2]])
    file = tmp_path / "out.json"
    result = CliRunner().invoke(
        mapping.app, ["--data", str(data), "--json", str(file), "--plots", str(tmp_path / "plots"), "--quick"]
    )
    assert result.exit_code == 0, result.output
    records = json.loads(file.read_text())
    assert {record["dataset"] for record in records} == {"company_to_quickbooks", "company_to_quickbooks+own25"}
    assert set(records[0]) == {
        *("dataset", "fold", "method", "n", "top1", "top5", "unseen_top1", "coverage_at_95", "ece")
    }
    assert any(record["method"] == "ours" for record in records)
    assert all(0 <= record["top1"] <= record["top5"] <= 1 for record in records)
    assert list((tmp_path / "plots").glob("*.png"))


def test_one_firm_alone_and_firms_of_one_code_are_no_error(data: Path) -> None:
    from rich.progress import Progress

    from benchmarks.mapping import run_task

    for rows in (mappings(("firm a",)), [mappings((firm,))[0] for firm in ("firm a", "firm b", "firm c")]):
        write(data / "company_to_quickbooks.csv", rows)
        results = list(run_task(only_task(data), None, quick=False, progress=Progress(disable=True)))
        assert results
        assert all(record.n for result in results for record in result.records)
