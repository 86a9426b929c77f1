"""Made-up sync attempts as Arrow tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, DUE_COLUMNS, STATUS_COLUMNS

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
TYPES = {"string": pa.string(), "boolean": pa.bool_(), "float64": pa.float64(), "int64": pa.int64()}
ERRORS = ((429, "rate_limit"), (401, "auth"), (503, "server_error"), (None, "timeout"), (400, "validation"))


def table(columns: dict[str, str], rows: list[dict[str, Any]]) -> pa.Table:
    moment = pa.timestamp("us", tz="UTC")
    schema = pa.schema([(name, TYPES.get(kind, moment)) for name, kind in columns.items()])
    return pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema)


def attempts(rows: list[dict[str, Any]]) -> pa.Table:
    return table(ATTEMPT_COLUMNS, rows)


def statuses(*rows: tuple[datetime, str]) -> pa.Table:
    found = [{"system": "quickbooks", "occurred_at": at, "status": status} for at, status in rows]
    return table(STATUS_COLUMNS, found)


def due(row: dict[str, Any], at: datetime, lead_minutes: float = 0.0) -> pa.Table:
    found = {name: row.get(name) for name in DUE_COLUMNS}
    return table(DUE_COLUMNS, [found | {"event_id": "", "occurred_at": at, "lead_minutes": lead_minutes}])


def sync(minute: float, ok: bool = True, **fields: Any) -> dict[str, Any]:
    """Return an attempt of c-1's i-1, so many minutes after the beginning; ``fields`` changes what it says."""
    at = BEGIN + timedelta(minutes=minute)
    integration = fields.get("integration_id", "i-1")
    return {
        "event_id": f"{integration}@{minute}",
        "company_id": "c-1",
        "integration_id": integration,
        "system": "quickbooks",
        "occurred_at": at,
        "ok": ok,
        "latency_ms": 800.0,
        "status_code": 200 if ok else 503,
        "error_class": None if ok else "server_error",
        "calls": 1,
        "rate_limit_hits": 0,
        "records_failed": 0,
        "interval_minutes": 60.0,
        "lead_minutes": 0.0,
    } | fields


def history(seed: int, integrations: int = 12, days: int = 12) -> list[dict[str, Any]]:
    """Return attempts of integrations that fail in spells, oldest first; failures follow failures and slowness."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(integrations):
        minute, failing, left = random.uniform(0, 60), False, 1000
        interval = float(random.choice([15, 60, 240]))
        while minute < days * 1440:
            warned = random.random() < 0.02
            failing = random.random() < (0.75 if failing else 0.02)
            left = 1000 if left < 50 else left - int(random.integers(5, 40))
            code, name = ERRORS[int(random.integers(len(ERRORS)))]
            found.append(
                sync(
                    round(minute, 3),
                    not failing,
                    integration_id=f"i-{number}",
                    company_id=f"c-{number % 5}",
                    system=("quickbooks", "xero")[number % 2],
                    latency_ms=float(np.exp(random.normal(6 + warned, 0.3)))
                    + (120_000 if name == "timeout" and failing else 0),
                    status_code=code if failing else 200,
                    error_class=name if failing else None,
                    network_latency_ms=float(random.uniform(20, 60)),
                    calls=int(random.integers(1, 9)),
                    calls_left=left,
                    calls_limit=1000,
                    rate_limit_hits=int(failing and code == 429),
                    records_failed=int(failing and code == 400),
                    interval_minutes=interval,
                    lead_minutes=float(random.uniform(0, interval)),
                )
            )
            minute += interval * random.uniform(0.95, 1.05)
    return sorted(found, key=lambda row: row["occurred_at"])
