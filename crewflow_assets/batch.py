"""The pyfunc face of a registered model, for batch scoring and `mlflow models serve`."""

from collections.abc import Sequence
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
        rows = frame.to_dict(orient="records")
        requests = [
            self.spec.request_type.model_validate(
                {str(name): value for name, value in row.items() if isinstance(value, list) or value == value}
            )
            for row in rows
        ]
        return [answer.fields for answer in self.spec.code().answer(self.predictor, requests)]


def _load_pyfunc(path: str) -> BatchModel:
    """Load what the registry logged (the interface of MLflow's ``loader_module``)."""
    folder = Path(path)
    spec = spec_named((folder / MODEL_NAME).read_text().strip())
    return BatchModel(spec, spec.code().load(folder))
