"""What was answered, as the prediction log keeps it and the metrics count it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from crewflow_assets.contract import PredictionRequest
from crewflow_assets.store.json_rows import moment

LONGEST_LOGGED_LIST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A prediction as it is answered."""

    prediction_id: str
    model: str
    model_version: str
    variant: str
    request: PredictionRequest
    output: dict[str, Any]
    withheld: bool
    propensity: float
    latency_ms: float
    created_at: datetime
    automatic: bool = False

    def row(self) -> dict[str, Any]:
        """Return the columns of ``predictions`` for JSON; long lists are kept as their length and hash."""
        inputs = self.request.model_dump(mode="json", exclude_none=True)
        for name, value in inputs.items():
            if isinstance(value, list) and len(value) > LONGEST_LOGGED_LIST:
                inputs[name] = {"count": len(value), "sha256": hashlib.sha256(to_json(value)).hexdigest()}
        return {
            "id": self.prediction_id,
            "model": self.model,
            "model_version": self.model_version,
            "variant": self.variant,
            "company_id": self.request.company_id,
            "inputs": inputs,
            "output": self.output,
            "withheld": self.withheld,
            "propensity": self.propensity,
            "latency_ms": self.latency_ms,
            "created_at": moment(self.created_at),
        }
