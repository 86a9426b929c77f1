"""The gateway that answers each single request by itself: what a batch gains when nothing is gathered into one."""

from time import perf_counter

from crewflow_assets.contract import PredictionRequest, PredictionResponse
from serving.gateway import service as service
from serving.gathering import Gathering


async def _by_itself(self: Gathering, request: PredictionRequest) -> PredictionResponse:
    arrived = perf_counter()
    [found] = await self._in_thread(lambda: self._answer([request], [arrived]))
    return found


Gathering.one = _by_itself  # type: ignore[method-assign]
