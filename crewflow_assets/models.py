"""All models of the platform: a new model is a new folder and one line here."""

from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import NotFoundError
from crewflow_assets.integration_health.model_spec import INTEGRATION_HEALTH_FORECAST
from crewflow_assets.retry_strategy.model_spec import RETRY_STRATEGY
from crewflow_assets.spec import ModelSpec
from crewflow_assets.sync_health.model_spec import SYNC_HEALTH

MODEL_SPECS: tuple[ModelSpec, ...] = (
    COST_CODE_MAPPING,
    SYNC_HEALTH,
    CONFLICT_RESOLUTION,
    RETRY_STRATEGY,
    INTEGRATION_HEALTH_FORECAST,
)


def spec_named(name: str) -> ModelSpec:
    """Return the spec of a model.

    Raises:
        NotFoundError: there is no such model.
    """
    for spec in MODEL_SPECS:
        if spec.name == name:
            return spec
    raise NotFoundError(f"no model {name!r}; there are {', '.join(s.name for s in MODEL_SPECS)}")
