"""Monitoring in Dagster: two assets for every model, checks that warn, a run that works before anything is there."""

from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock, registry
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.monitoring.looks import ASPECTS
from crewflow_assets.registry import VersionInfo
from pipelines import monitoring
from pipelines.definitions import defs
from tests.monitoring.logs import MONDAY, TOY, WEEK, add_companies, log, toy_weeks
from tests.worlds import start_registry

WEEKS = 12


def test_every_model_is_watched() -> None:
    graph = defs.resolve_asset_graph()
    for spec in MODEL_SPECS:
        for name in (f"{spec.name}_accuracy", f"{spec.name}_drift"):
            assert dg.AssetKey([monitoring.GROUP, name]) in graph.get_all_asset_keys()
        checks = {key.name for key in graph.asset_check_keys if key.asset_key.path[-1] == f"{spec.name}_drift"}
        assert checks == {f"{aspect}_drift" for aspect in ASPECTS}


def materialise(
    assets: list[dg.AssetsDefinition], instance: dg.DagsterInstance
) -> tuple[dict[str, bool], dict[str, dict[str, Any]]]:
    """Return which checks passed, and each asset's metadata."""
    done = dg.materialize(assets, instance=instance)
    checks = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
    seen = {
        event.asset_key.path[-1]: {
            k: v.value for k, v in event.step_materialization_data.materialization.metadata.items()
        }
        for event in done.get_asset_materialization_events()
        if event.asset_key is not None
    }
    return checks, seen


def test_a_run_before_anything_is_there_says_so(sqlite_store: Engine) -> None:
    start_registry()
    with dg.DagsterInstance.ephemeral() as instance:
        checks, seen = materialise(monitoring.monitoring_assets, instance)
    assert all(checks.values())
    assert len(seen) == 2 * len(MODEL_SPECS)


def test_a_week_that_drifted_fails_its_check_and_shows_the_plot(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_companies(f"c-{n}" for n in range(12))
    log(*toy_weeks(WEEKS), *toy_weeks(1, first=WEEKS, size=3.0))
    champion = VersionInfo(
        "toy", 1, "1.0", ("champion",), MONDAY, {registry.DATA_UNTIL: (MONDAY + WEEKS * WEEK).isoformat()}, ""
    )
    monkeypatch.setattr(registry, "alias_numbers", lambda _spec: {"champion": 1})
    monkeypatch.setattr(registry, "find", lambda _spec, _alias: champion)
    assets = [monitoring.accuracy_asset(TOY), monitoring.drift_asset(TOY)]
    with dg.DagsterInstance.ephemeral() as instance, clock.fixed(MONDAY + (WEEKS + 1) * WEEK):
        checks, seen = materialise(assets, instance)
        again, second = materialise(assets, instance)
    assert checks == {"inputs_drift": False, "predictions_drift": True, "calibration_drift": True}
    assert again == checks
    assert (seen["toy_drift"]["weeks_looked_at"], second["toy_drift"]["weeks_looked_at"]) == (WEEKS + 1, 0)
    assert str(seen["toy_drift"]["drift"]).startswith("![drift](data:image/png")
    assert "inputs drift since" in str(seen["toy_drift"]["open_alerts"])
    assert "right_by_week" in seen["toy_accuracy"]
