"""How long a tick of the watch acts on many integrations, at several shares of them at risk.

Run: ``python -m benchmarks.sync_watch [--integrations 10000] [--database-url URL] [--json FILE]``. Scoring is not in
these figures: the scores are given. The database is an empty one: SQLite in a temporary folder unless a URL is named.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
TICK = timedelta(minutes=15)
PER_COMPANY = 2
CASES = (
    ("nobody at risk", 0.0, "api_down"),
    ("2 % at risk for the first time", 0.02, "api_down"),
    ("all at risk: one action and up to two alerts each company", 1.0, "api_down"),
    ("all at risk still", 1.0, "api_down"),
    ("nobody at risk, pauses end", 0.0, "api_down"),
)
PAUSE_ENDS = 4
"""Ticks before the last case."""


def measure(integrations: int, progress: bool = True) -> list[dict[str, Any]]:
    """Run the cases one after another on a migrated, empty database and return a record of each."""
    from rich.progress import track

    _prepare(integrations)
    at, records = BEGIN, []
    for place, (name, share, cause) in enumerate(track(CASES, "Ticks", disable=not progress)):
        at += TICK * (PAUSE_ENDS if place == len(CASES) - 1 else 1)
        records.append({"case": name, "integrations": integrations} | _tick(at, share, cause))
    return records


def _prepare(integrations: int) -> None:
    from sqlalchemy import insert

    from crewflow_assets.store import schema
    from crewflow_assets.store.database import transaction
    from crewflow_assets.store.sync_tables import Integration
    from crewflow_assets.store.tables import Company
    from crewflow_assets.sync_health.integrations import ACTIVE, FRESHNESS_MINUTES

    schema.upgrade()
    companies = [f"c-{number}" for number in range(-(-integrations // PER_COMPANY))]
    with transaction() as session:
        session.execute(
            insert(Company),
            [{"id": id_, "name": id_, "industry": "general", "created_at": BEGIN} for id_ in companies],
        )
        session.execute(
            insert(Integration),
            [
                {
                    "company_id": f"c-{number // PER_COMPANY}",
                    "integration_id": f"i-{number}",
                    "system": "quickbooks",
                    "interval_minutes": 15.0,
                    "freshness_minutes": FRESHNESS_MINUTES,
                    "state": ACTIVE,
                    "needs_authorisation": False,
                    "last_attempt_at": BEGIN,
                    "last_ok_at": BEGIN,
                    "created_at": BEGIN,
                }
                for number in range(integrations)
            ],
        )


def _tick(at: datetime, share: float, cause: Any) -> dict[str, Any]:
    from crewflow_assets import clock
    from crewflow_assets.sync_health.contract import RiskFactor
    from crewflow_assets.sync_health.integrations import Key
    from crewflow_assets.sync_health.policy import Risk
    from crewflow_assets.sync_health.watch import Scored, tick

    factor = RiskFactor(code=cause, detail="7 of 9 integrations failed in the last hour", contribution=0.8)

    def score(keys: Sequence[Key], _at: datetime) -> list[Scored]:
        at_risk = round(share * len(keys))
        return [Scored(Risk(0.9 if n < at_risk else 0.05, [factor]), 15.0) for n in range(len(keys))]

    began = perf_counter()
    with clock.fixed(at):
        report = tick(score, at, model_version="benchmark")
    return {"seconds": perf_counter() - began} | asdict(report)


def main() -> None:
    """Print the table."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--integrations", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--database-url", default="", help="an empty database; default: SQLite, temporary")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    chosen = parser.parse_args()
    with TemporaryDirectory(prefix="crewflow-watch-") as home:
        os.environ |= {"CREWFLOW_HOME": home, "CREWFLOW_DATABASE_URL": chosen.database_url}
        records = measure(chosen.integrations)
    columns = ["case", "integrations", "seconds", "actions", "withheld", "ended", "opened", "told", "commands"]
    print(pd.DataFrame(records)[columns].to_markdown(index=False, floatfmt=".1f"))
    if chosen.json:
        chosen.json.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    main()
