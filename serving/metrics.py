"""The platform's own Prometheus metrics; BentoML adds its request counts and shows all on ``/metrics``."""

from prometheus_client import Counter, Gauge, Histogram

OF_A_VERSION = ("model", "model_version", "variant")

PREDICTIONS = Counter("crewflow_predictions", "Predictions answered.", OF_A_VERSION)
LATENCY = Histogram(
    "crewflow_prediction_latency_seconds",
    "Time from a request's arrival to the model's answer, as it is logged; one of a batch took as long as the batch.",
    OF_A_VERSION,
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10, 60),
)
AUTOMATIC = Counter("crewflow_automatic", "Predictions that may be acted on without asking a person.", OF_A_VERSION)
WITHHELD = Counter("crewflow_withheld", "Predictions whose automation was withheld for measurement.", OF_A_VERSION)
SAID = Histogram(
    "crewflow_said_probability",
    "The probability that each prediction said: the first suggestion's confidence, that the next sync fails.",
    OF_A_VERSION,
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
)
ROWS_DROPPED = Counter(
    "crewflow_prediction_rows_dropped", "Predictions that could not be logged before queue and spool were full."
)
BAD_BATCHES = Counter(
    "crewflow_prediction_bad_batches", "Batches on disk that could not be read and were put aside as *.bad."
)
WRITE_FAILURES = Counter("crewflow_prediction_write_failures", "Failed attempts to write the prediction log.")
ROWS_WAITING = Gauge(
    "crewflow_prediction_rows_waiting",
    "Predictions in memory that are still to be logged.",
    multiprocess_mode="livesum",
)
SPOOLED_BATCHES = Gauge(
    "crewflow_prediction_spooled_batches",
    "Batches of predictions on disk that wait for the database.",
    multiprocess_mode="mostrecent",
)
REFUSED = Counter("crewflow_refused", "Requests that the guard refused before any model saw them.", ["status"])
SERVED_VERSION = Gauge(
    "crewflow_served_version",
    "The registry's number of the version in memory, by how it is asked for; 0 without one.",
    ["model", "asked_as"],
    multiprocess_mode="mostrecent",
)
FROM_COPY = Gauge(
    "crewflow_registry_away",
    "1 while the registry is away and the disk's copy of what it gave last is served.",
    ["model"],
    multiprocess_mode="mostrecent",
)
OUTBOX = Gauge(
    "crewflow_outbox_commands",
    "Commands to other systems by state; pending ones are neither delivered nor refused.",
    ["state"],
    multiprocess_mode="mostrecent",
)
