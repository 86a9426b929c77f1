"""A service of two models that know nothing, which takes less long to start than the gateway."""

from serving.service import make_service
from tests.serving.fakes import ECHO, FIRST_ACCOUNT
from tests.serving.filed_registry import FiledSource

service = make_service([ECHO, FIRST_ACCOUNT], name="crewflow_small", source=FiledSource(), port=3100)
