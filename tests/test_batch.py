"""The pyfunc face of a registered model: a data frame in, answers out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from crewflow_assets import registry
from crewflow_assets.batch import BatchModel, _cells
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from tests.registering import new_version
from tests.worlds import predictor

ACCOUNTS = [{"code": "A", "name": "Rough Electrical"}, {"code": "B", "name": "Paint"}]
FRAME = pd.DataFrame(
    {
        "crewflow_cost_code": ["E-1", "P-1"],
        "cost_code_name": ["Electrical, rough", "PAINT"],
        "cost_code_group": ["16 Electrical", None],
        "company_industry": ["electrical", "painting"],
        "target_system": ["quickbooks", "xero"],
        "target_accounts": [ACCOUNTS, ACCOUNTS],
        "top_k": [1.0, float("nan")],
    }
)


def test_mlflow_loads_the_model_and_answers_each_row(mlflow_home: Path) -> None:
    import mlflow

    version = new_version(model=predictor(name_similarity=5.0))
    registry.promote(version, registry.CHAMPION)
    loaded = mlflow.pyfunc.load_model("models:/cost_code_mapping@champion")
    answers = loaded.predict(FRAME)
    assert [answer["suggestions"][0]["target_code"] for answer in answers] == ["A", "B"]
    assert [len(answer["suggestions"]) for answer in answers] == [1, 2]
    assert {answer["method"] for answer in answers} == {"ask"}


def test_empty_cells_are_left_out_and_wrong_ones_refused(home: Path) -> None:
    model = BatchModel(COST_CODE_MAPPING, predictor(name_similarity=5.0))
    assert len(model.predict(FRAME)) == 2
    with pytest.raises(ValidationError, match="target_system"):
        model.predict(FRAME.assign(target_system="Quick Books"))


def test_arrays_are_lists_at_every_depth() -> None:
    found = _cells({"a": np.array([{"b": np.array([1, 2])}], object), "c": {"d": (1.5, None)}, "e": float("nan")})
    assert found == {"a": [{"b": [1, 2]}], "c": {"d": [1.5, None]}}
    assert all(type(value) is int for value in found["a"][0]["b"])


def test_cells_as_parquet_gives_them_are_answered_alike(home: Path, tmp_path: Path) -> None:
    FRAME.astype({"top_k": "Int64"}).to_parquet(tmp_path / "rows.parquet")
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    model = BatchModel(COST_CODE_MAPPING, predictor(name_similarity=5.0))
    assert model.predict(frame) == model.predict(FRAME)
