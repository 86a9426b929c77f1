"""The conflict benchmark: what it reads, that groups stay whole, and what it writes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.conflicts import app
from benchmarks.conflicts_data import Dataset, cases, dataset_of, parsed, read_datasets
from benchmarks.conflicts_figures import judge
from benchmarks.conflicts_methods import METHODS, OURS, PLAIN, Asked
from crewflow_assets.conflict_resolution.features import CASE_FEATURES, CHOICE_FEATURES, FEATURES

FIELDS = {"dataset", "method", "n", "accuracy", "coverage", "share_right", "share_right_low", "ece"}
SHARE = FEATURES.index("chose_crewflow_alike")


def frame(groups: int = 40, each: int = 8) -> pd.DataFrame:
    """Sites disagree on a clock time; the one that more others agree with was chosen, mostly."""
    random = np.random.default_rng(1)
    n = groups * each
    home = random.random(n) < 0.5
    noise = random.random(n) < 0.03
    return pd.DataFrame(
        {
            "dataset": "clocks",
            "record_id": [f"2026-01-0{i % each // 4 + 1}|g{i // each}|{i % each // 2}" for i in range(n)],
            "group_id": [f"g{i // each}" for i in range(n)],
            "conflict_type": "hours_mismatch",
            "attribute": "arrival",
            "home": "ours",
            "source_b": [("x", "y")[i % 2] for i in range(n)],
            "value_a": "08:00",
            "value_b": [("07:30", "07:45")[i % 2] for i in range(n)],
            "diff": -0.5,
            "hours_since_sync": np.nan,
            "age_gap_hours": np.nan,
            "rel_a": 0.7,
            "rel_b": 0.7,
            "n_other_agree_a": np.where(home, 5.0, 1.0),
            "n_other_agree_b": np.where(home, 1.0, 5.0),
            "label": np.where(home != noise, "use_A", "use_B"),
        }
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return dataset_of("clocks", frame())


@pytest.mark.parametrize(
    ("text", "value"), [("08:30", 8.5), ("7.5", 7.5), ("01-100", "01-100"), ("25:00", "25:00"), ("nan", "nan")]
)
def test_values(text: str, value: float | str) -> None:
    assert parsed(text) == value


def test_the_other_conflicts_of_a_record_are_third_records_and_those_of_a_day_its_batch() -> None:
    first = next(cases(frame()))
    assert [(third.source, third.value) for third in first.third] == [("y", 7.75)]
    assert first.batch is not None
    assert (first.batch.size, first.batch.same_record) == (3, 1)  # the group's other four are of the next day


def test_past_choices_come_from_the_known_alone(data: Dataset) -> None:
    asked, known = np.arange(8), np.arange(8, 16)
    before = data.rows(asked, known)
    relabelled = Dataset(
        data.name,
        data.frame,
        np.r_[1 - data.labels[:8], data.labels[8:]],
        data.clusters,
        data.types,
        data.evidence,
        data.like,
    )
    np.testing.assert_array_equal(before, relabelled.rows(asked, known))
    assert not np.array_equal(before[:, SHARE], data.rows(asked, np.arange(16, 100))[:, SHARE])
    assert before.shape == (8, len(CASE_FEATURES) + len(CHOICE_FEATURES))


def test_a_method_that_decides_nothing_has_no_share_right(data: Dataset) -> None:
    said = Asked(np.tile([0.6, 0.3, 0.1], (len(data), 1)), np.zeros(len(data), bool))
    record = judge(data, "shy", said).as_json()
    assert set(record) == FIELDS
    assert (record["coverage"], record["share_right"], record["share_right_low"]) == (0, None, None)
    assert record["accuracy"] == pytest.approx(np.mean(data.labels == 0), abs=1e-4)


def test_the_command_writes_a_record_for_each_method(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "conflicts.parquet")
    out, plots = tmp_path / "found.json", tmp_path / "plots"
    asked = ["--data", str(tmp_path), "--json", str(out), "--plots", str(plots), "--groups", "30"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    records = {record["method"]: record for record in json.loads(out.read_text())}
    assert list(records) == list(METHODS)
    assert all(set(record) == FIELDS and record["n"] == 240 for record in records.values())
    assert OURS.startswith("ours")
    assert records[OURS]["accuracy"] > 0.93 > 0.7 > records["always CrewFlow"]["accuracy"]
    assert f"{OURS} minus {PLAIN}" in result.output
    assert len(list(plots.glob("conflicts-clocks-*.png"))) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="rel_a"), "lacks the column 'rel_a'"),
        (lambda f: f.assign(label="use_C"), "row 0: label 'use_C'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, change: object, says: str) -> None:
    assert callable(change)
    change(frame(2)).to_parquet(tmp_path / "conflicts.parquet")
    with pytest.raises(ValueError, match=says):
        list(read_datasets(tmp_path))


def test_no_file_is_told_with_the_remedy(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(tmp_path)])
    assert result.exit_code == 2
    with pytest.raises(FileNotFoundError, match=r"no conflicts\.parquet"):
        list(read_datasets(tmp_path))
