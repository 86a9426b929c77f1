"""What the models other than the mapping learn from and are asked about when serving is measured: a small world."""

from datetime import timedelta
from itertools import product
from typing import Any

from sqlalchemy import select

from crewflow_assets import clock
from crewflow_assets.spec import ModelSpec, Predictor

SEED = 11
COMPANIES, FEW_COMPANIES = 32, 24
DAYS, FEW_DAYS = 75, 60
WORKERS = 10
PREFIX = "world-"
KINDS = ("sync_attempt", "api_status", "retry_outcome", "conflict", "conflict_decision", "record_version")


def write_world(quick: bool) -> None:
    """Fill the store and the lake, unless they are filled: with companies that sync, retry and correct until now."""
    from crewflow_assets.handlers import EVENT_HANDLERS
    from crewflow_assets.lake.events import stale_days, write_days
    from crewflow_assets.store.database import reading, transaction
    from crewflow_assets.store.tables import Company
    from crewflow_assets.twin.retries.filling import write_retries
    from crewflow_assets.twin.sync.filling import beginning, write_syncs
    from crewflow_assets.twin.sync.fleet import Customer
    from crewflow_assets.twin.timecards.crews import Employer
    from crewflow_assets.twin.timecards.filling import write_timecards

    companies, days = (FEW_COMPANIES, FEW_DAYS) if quick else (COMPANIES, DAYS)
    end = clock.now()
    begin = beginning(end, days)
    ids = [f"{PREFIX}{number}" for number in range(companies)]
    with transaction() as session:
        if session.scalar(select(Company.id).where(Company.id == ids[0])) is not None:
            return
        session.add_all(Company(id=id_, name=id_, industry="general", created_at=begin) for id_ in ids)
    customers = [Customer(f"i-{id_}", id_, "quickbooks", 40) for id_ in ids]
    _, recorded = write_syncs(customers, seed=SEED, begin=begin, end=end, handlers=EVENT_HANDLERS, progress=_nothing)
    write_retries(recorded, end=end, handlers=EVENT_HANDLERS)
    employers = [Employer(id_, "quickbooks", WORKERS, begin.date() + timedelta(days=1)) for id_ in ids]
    write_timecards(employers, seed=SEED, end=end, handlers=EVENT_HANDLERS, progress=_nothing)
    with reading() as session:
        for kind in KINDS:
            write_days(session, kind, stale_days(session, kind))


def _nothing() -> None:
    pass


def fit_on_store(spec: ModelSpec) -> Predictor:
    """Fit a model on what the store's world tells until now, as a training does."""
    code = spec.code()
    return code.fit(code.build_features(clock.now()), seed=SEED)


def integrations(first: int, count: int) -> list[dict[str, Any]]:
    """Return which of the world's integrations are asked about, in turn."""
    ids = [f"{PREFIX}{number % FEW_COMPANIES}" for number in range(first, first + count)]
    return [{"company_id": id_, "integration_id": f"i-{id_}"} for id_ in ids]


def conflicts(first: int, count: int) -> list[dict[str, Any]]:
    """Return contradictions about hours, no two alike."""
    last_sync = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    asked = []
    for number in range(first, first + count):
        quarters, minutes = 16 + number % 24, 1 + number // 24 % 40
        asked.append(
            {
                "conflict_type": "hours_mismatch",
                "crewflow_value": quarters / 4,
                "external_value": round(quarters / 4 - minutes / 60, 4),
                "company_id": f"{PREFIX}{number % FEW_COMPANIES}",
                "worker_id": f"w-{number % WORKERS}",
                "project_id": f"p-{number}",
                "timecard_date": (last_sync - timedelta(days=1)).date().isoformat(),
                "last_sync_timestamp": (last_sync - timedelta(hours=number % 20)).isoformat(),
            }
        )
    return asked


FAILURES = (
    ("rate_limit", "message=ThrottleExceeded; errorCode=003001; statusCode=429", 429),
    ("server_error", "An unexpected error occurred, try again later", 503),
    ("timeout", "The request timed out after {n} ms", None),
    ("validation", "Required parameter Line.Amount is missing in request {n}", 400),
    ("network", "connection reset by peer", None),
)


def failures(first: int, count: int) -> list[dict[str, Any]]:
    """Return failed calls, no two alike."""
    asked = []
    for number, where in enumerate(integrations(first, count), start=first):
        error, message, status = FAILURES[number % len(FAILURES)]
        asked.append(
            where
            | {
                "integration_type": "quickbooks",
                "error_type": error,
                "error_message": message.format(n=number),
                "previous_attempts": 1 + number % 5,
                "time_of_day": number % 24,
                "api_latency_24h": 500 + number / 10,
                "status_code": status,
            }
        )
    return asked


METRICS = tuple(product((700, 650, 500), (720, 760), (400.0, 900.0)))


def metrics(first: int, count: int) -> list[dict[str, Any]]:
    """Return integrations with their last thirty days as the caller knows them, no two alike."""
    asked = []
    for number, where in enumerate(integrations(first, count), start=first):
        successful, total, latency = METRICS[number % len(METRICS)]
        told = {"successful_syncs": successful, "total_syncs": total, "avg_latency_ms": latency + number / 100}
        counts = {"error_count": total - successful, "conflicts": number % 7, "duplicates": number % 3}
        asked.append(where | {"current_metrics": told | counts})
    return asked
