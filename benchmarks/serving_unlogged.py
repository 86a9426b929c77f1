"""The gateway without its prediction log and access log, to see what they cost: for the serving benchmark alone."""

import logging

from serving.gateway import service
from serving.prediction_log import PredictionLog


class _NoLog(PredictionLog):
    def add(self, served: list[object]) -> None:  # type: ignore[override]
        pass


logging.getLogger("crewflow.access").disabled = True
service.runtime.log = _NoLog()
for predictions in service.runtime.predictions.values():
    predictions._log = service.runtime.log
