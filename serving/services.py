"""One service a model, each deployable alone: ``bentoml serve serving.services:cost_code_mapping``."""

from crewflow_assets import registry
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.settings import get_settings
from serving.model_cache import ModelCache
from serving.packing import unpack
from serving.service import GuardedService, make_service


def __getattr__(name: str) -> GuardedService:
    """Make the service of the model of that name."""
    for spec in MODEL_SPECS:
        if spec.name == name:
            unpack()
            service = make_service([spec], name=name, source=ModelCache(registry), port=get_settings().gateway_port)
            globals()[name] = service
            return service
    raise AttributeError(f"no service {name!r}; there are {', '.join(spec.name for spec in MODEL_SPECS)}")
