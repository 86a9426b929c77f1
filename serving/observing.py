"""What the metrics tell of served predictions and of the server's state, counted beside the requests."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from crewflow_assets.monitoring.hook import Logged, Monitored
from crewflow_assets.outbox import queue
from crewflow_assets.spec import ModelSpec
from serving import metrics
from serving.predictors import ALIASES, Predictors
from serving.served import Served

logger = logging.getLogger("crewflow.serving")


class Observer:
    """Counts predictions by model, version and variant, as the log's thread takes them."""

    def __init__(self, specs: Iterable[ModelSpec]) -> None:
        self._monitored: dict[str, Monitored] = {
            spec.name: spec.monitored() for spec in specs if spec.monitored is not None
        }

    def __call__(self, batch: Sequence[Served]) -> None:
        """Count a batch."""
        alike: dict[tuple[str, str, str], list[Served]] = defaultdict(list)
        for served in batch:
            alike[served.model, served.model_version, served.variant].append(served)
        for labels, some in alike.items():
            latency = metrics.LATENCY.labels(*labels)
            for served in some:
                latency.observe(served.latency_ms / 1000)
            if automatic := sum(served.automatic for served in some):
                metrics.AUTOMATIC.labels(*labels).inc(automatic)
            if withheld := sum(served.withheld for served in some):
                metrics.WITHHELD.labels(*labels).inc(withheld)
            probabilities = [said for served in some if (said := self._said(served)) is not None]
            if probabilities:
                histogram = metrics.SAID.labels(*labels)
                for said in probabilities:
                    histogram.observe(said)

    def _said(self, served: Served) -> float | None:
        """Return the probability that was said; None where the model says a number, or none."""
        monitored = self._monitored.get(served.model)
        if monitored is None or monitored.numbers:
            return None
        return monitored.said(
            Logged(
                id=served.prediction_id,
                company_id=served.request.company_id,
                model_version=served.model_version,
                variant=served.variant,
                inputs={},
                output=served.output,
                withheld=served.withheld,
                propensity=served.propensity,
                created_at=served.created_at,
            )
        )


def gauge(predictors: Predictors) -> None:
    """Set the gauges of the models in memory and, while the database can be asked, of the outbox."""
    for spec in predictors.specs:
        loaded = predictors.loaded(spec)
        for alias in ALIASES:
            model = loaded.get(alias)
            metrics.SERVED_VERSION.labels(spec.name, alias).set(0 if model is None else model.number)
        origin = predictors.source.origin(spec)
        metrics.FROM_COPY.labels(spec.name).set(origin is not None and origin.source == "cache")
    try:
        metrics.OUTBOX.labels("pending").set(queue.waiting())
    except SQLAlchemyError:
        logger.debug("the outbox cannot be counted while the database is away")
