"""The platform's own Prometheus metrics; BentoML adds its request counts and shows all on ``/metrics``."""

from prometheus_client import Counter, Histogram

PREDICTIONS = Counter("crewflow_predictions", "Predictions answered.", ["model", "model_version", "variant"])
PREDICTION_SECONDS = Histogram(
    "crewflow_prediction_seconds",
    "Time from a request's arrival, single or batch, to the model's answer.",
    ["model"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
ROWS_DROPPED = Counter(
    "crewflow_prediction_rows_dropped", "Predictions that could not be logged before the queue was full."
)
WRITE_FAILURES = Counter("crewflow_prediction_write_failures", "Failed attempts to write the prediction log.")
REFUSED = Counter("crewflow_refused", "Requests that the guard refused before any model saw them.", ["status"])
