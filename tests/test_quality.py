"""Great Expectations on a feature table: what fails is named, and stops the training."""

from contextlib import nullcontext
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.quality import feature_check, results_table, run_suite
from crewflow_assets.spec import Expectation


def healthy(rows: int = 600) -> pd.DataFrame:
    number = np.arange(rows)
    return pd.DataFrame(
        {
            "company_id": [f"c-{i % 5}" for i in number],
            "candidate": [f"{50000 + i % 7}" for i in number],
            "label": (number % 7 == 0).astype(int),
            "fold": np.array(["train", "train", "train", "test"], object)[number % 4],
            "name_similarity": number % 10 / 10,
            "n_history": number % 20,
        }
    )


def check(table: pd.DataFrame) -> pd.DataFrame:
    return run_suite("cost_code_mapping", COST_CODE_MAPPING.expectations, table)


def failed(found: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(row["column"]): dict(row) for _, row in found[~found["passed"]].iterrows()}


def test_a_healthy_table_meets_every_expectation() -> None:
    found = check(healthy())
    assert len(found) == len(COST_CODE_MAPPING.expectations)
    assert found["passed"].all(), found


def test_every_poisoned_column_is_named_with_count_share_and_examples() -> None:
    table = healthy()
    table["label"] = table["label"].astype(float)
    table.loc[:5, "label"] = 7.0
    table.loc[:2, "name_similarity"] = 9.0
    table.loc[:11, "candidate"] = None
    table.loc[3, "fold"] = "holdout"
    found = check(table)
    wrong = failed(found)
    assert set(wrong) == {"label", "name_similarity", "candidate", "fold"}
    assert (wrong["label"]["unexpected"], wrong["label"]["share"]) == (6, 0.01)
    assert wrong["label"]["examples"].startswith("7")
    assert wrong["name_similarity"]["examples"] == "9.0, 9.0, 9.0"
    assert wrong["candidate"]["unexpected"] == 12
    assert wrong["fold"]["examples"] == "holdout"
    assert not found["passed"].iloc[:4].any()  # the failed come first
    assert found["passed"].iloc[4:].all()


def test_too_few_rows_are_reported_with_what_was_seen() -> None:
    wrong = failed(check(healthy(20)))
    assert set(wrong) == {""}
    assert wrong[""]["observed"] == "20"
    assert "500" in wrong[""]["expectation"]


def test_a_missing_column_fails_and_says_so() -> None:
    wrong = failed(check(healthy().drop(columns=["name_similarity"])))
    assert set(wrong) == {"name_similarity"}
    assert "name_similarity" in wrong["name_similarity"]["problem"]


def test_an_empty_table_fails() -> None:
    assert "" in failed(check(healthy(0)))


def test_an_expectation_that_does_not_exist_is_a_mistake_of_the_spec() -> None:
    with pytest.raises(ValueError, match="has no 'ExpectMiracles'"):
        run_suite("x", (Expectation("ExpectMiracles"),), healthy())


def test_the_results_are_a_table_that_dagster_shows() -> None:
    table = results_table(check(healthy().assign(label=7)))
    record = table.records[0].data
    assert record["column"] == "label"
    assert record["passed"] is False
    assert record["unexpected"] == 600


def test_the_check_blocks_what_comes_after_it() -> None:
    [spec] = feature_check(COST_CODE_MAPPING, lambda _run: nullcontext()).check_specs
    assert spec.blocking
    assert spec.asset_key == dg.AssetKey(["cost_code_mapping", "features"])
