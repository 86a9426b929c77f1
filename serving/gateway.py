"""All models in one process: ``bentoml serve serving.gateway:service``."""

from crewflow_assets import registry
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.settings import get_settings
from serving.model_cache import ModelCache
from serving.packing import unpack
from serving.service import make_service

unpack()
service = make_service(MODEL_SPECS, name="crewflow_ml", source=ModelCache(registry), port=get_settings().gateway_port)
