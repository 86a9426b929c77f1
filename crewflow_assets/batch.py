"""The pyfunc face of a registered model, for batch scoring and `mlflow models serve`."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewflow_assets.models import spec_named
from crewflow_assets.spec import ModelSpec, Predictor

if TYPE_CHECKING:
    import pandas as pd

MODEL_NAME = "model.txt"


class BatchModel:
    """A predictor that takes a data frame with the columns of its request type."""

    def __init__(self, spec: ModelSpec, predictor: Predictor) -> None:
        self.spec = spec
        self.predictor = predictor

    def predict(self, frame: "pd.DataFrame", params: dict[str, Any] | None = None) -> Sequence[dict[str, Any]]:  # noqa: ARG002
        """Answer each row; empty cells are left out."""
        requests = [self.spec.request_type.model_validate(_cells(row)) for row in frame.to_dict(orient="records")]
        return [answer.fields for answer in self.spec.code().answer(self.predictor, requests)]


def _cells(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return the cells that hold something, by column, as plain values; within nested cells too."""
    import pandas as pd

    found = {str(name): _plain(value) for name, value in row.items()}
    return {name: value for name, value in found.items() if not (pd.api.types.is_scalar(value) and pd.isna(value))}


def _plain(value: Any) -> Any:
    """Return a cell with lists for the arrays that Parquet files give, at every depth."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value


def _load_pyfunc(path: str) -> BatchModel:
    """Load what the registry logged (the interface of MLflow's ``loader_module``)."""
    folder = Path(path)
    spec = spec_named((folder / MODEL_NAME).read_text().strip())
    return BatchModel(spec, spec.code().load(folder))
