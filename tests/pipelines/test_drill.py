"""``crewflow drill``: an injected outage is foreseen, acted on and told, and all of it stands in the audit log."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from crewflow_assets import clock, registry
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Event
from crewflow_assets.sync_health.contract import SyncHealthRequest
from pipelines import integrations
from pipelines.cli import drill
from pipelines.cli.main import app
from tests.pipelines.test_integrations import Loaded


class SameAsLast:
    """Fears that an API is down for whose last sync it was."""

    def answer(self, _predictor: object, requests: Sequence[SyncHealthRequest]) -> list[Answer]:
        last = {}
        with reading() as session:
            for payload in session.scalars(
                select(Event.payload)
                .where(Event.kind == "sync_attempt", Event.occurred_at < clock.now())
                .order_by(Event.occurred_at)
            ):
                last[payload["integration_id"]] = payload
        factor = {"code": "api_down", "detail": "the last sync failed", "contribution": 0.9}
        down = {id_ for id_, payload in last.items() if payload["error_class"] in ("server_error", "timeout")}
        return [
            Answer(
                {
                    "failure_probability": 0.9 if request.integration_id in down else 0.1,
                    "risk_factors": [factor],
                    "horizon_minutes": 15.0,
                }
            )
            for request in requests
        ]


def test_an_outage_from_the_alert_to_the_resolution(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DAGSTER_HOME", str(home))  # restored after the test; the command sets its own
    monkeypatch.setattr(integrations, "spec_named", lambda _: type("Spec", (), {"code": lambda _: SameAsLast()})())
    monkeypatch.setattr(registry, "load", lambda _spec, _version: Loaded())
    monkeypatch.setattr(drill, "WARM_UP_DAYS", 1)
    monkeypatch.setattr(drill, "DAYS", 3)
    monkeypatch.setattr(drill, "CLOSE", range(96 + 36, 96 + 48))
    monkeypatch.setattr(drill, "RARELY", 32)
    result = CliRunner().invoke(app, ["drill", "--integrations", "9"])
    assert result.exit_code == 0, result.output
    database = sqlite3.connect(home / "drill" / "crewflow.db")
    audit = database.execute("select subject_id, action from audit_log order by id").fetchall()
    told = Counter(command for (command,) in database.execute("select command from outbox where state = 'delivered'"))
    undelivered = database.execute("select count(*) from outbox where state <> 'delivered'").fetchone()[0]
    database.close()
    stories = {who: [action for subject, action in audit if subject == who] for who, _ in audit}
    whole = [s for s in stories.values() if {"sync.pause", "alert.open", "sync.resume", "alert.resolve"} <= set(s)]
    assert whole, stories
    for story in whole:
        assert story.index("sync.pause") < story.index("sync.resume") < story.index("alert.resolve")
    assert undelivered == 0
    done = Counter(action for _, action in audit)
    assert told == {
        "sync.pause": done["sync.pause"],
        "alert.opened": done["alert.open"],
        "alert.resolved": done["alert.resolve"],
    }
    assert "Audit log of" in result.output
    assert not (home / "crewflow.db").exists(), "the installation's own database is left alone"
