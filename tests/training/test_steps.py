"""What the steps of a training keep: feature tables by their content, and the hash of a model's code."""

import dataclasses
from pathlib import Path

import pandas as pd

from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.training.steps import code_hash, write_features


def test_equal_feature_tables_are_one_file_and_only_the_newest_are_kept(home: Path) -> None:
    tables = [pd.DataFrame({"x": [number, number + 1]}) for number in range(8)]
    first_path, first = write_features(COST_CODE_MAPPING, tables[0])
    assert write_features(COST_CODE_MAPPING, tables[0].copy()) == (first_path, first)
    hashes = [write_features(COST_CODE_MAPPING, table)[1] for table in tables]
    assert len(set(hashes)) == 8
    kept = {file.stem for file in first_path.parent.iterdir()}
    assert len(kept) == 5
    assert hashes[-1] in kept
    assert pd.read_parquet(first_path.parent / f"{hashes[-1]}.parquet").equals(tables[-1])


def test_the_code_of_a_model_has_one_hash() -> None:
    assert code_hash(COST_CODE_MAPPING) == code_hash(dataclasses.replace(COST_CODE_MAPPING, gates=()))
    assert len(code_hash(COST_CODE_MAPPING)) == 16
