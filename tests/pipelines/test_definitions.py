"""What the code location holds, and that it loads without the heavy libraries."""

import json
import subprocess
import sys
from typing import Any

import dagster as dg
from syrupy.assertion import SnapshotAssertion

from pipelines.definitions import defs

HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "great_expectations",
    "xgboost",
    "sklearn",
    "mlflow",
    "pyspark",
}
LATER = set("pandas scipy matplotlib ibis duckdb pyarrow bentoml".split())
"""Not named by the promise, but no definition needs them to load either."""


def names(keys: Any) -> list[str]:
    return sorted(key.to_user_string() for key in keys)


def graph() -> Any:
    return defs.resolve_asset_graph()


def test_assets_and_what_they_stand_on(snapshot: SnapshotAssertion) -> None:
    assets = {
        key.to_user_string(): {
            "group": graph().get(key).group_name,
            "needs": names(graph().get(key).parent_keys),
            "partitions": type(graph().get(key).partitions_def).__name__ if graph().get(key).partitions_def else None,
        }
        for key in graph().get_all_asset_keys()
    }
    assert dict(sorted(assets.items())) == snapshot


def test_checks_and_whether_they_block(snapshot: SnapshotAssertion) -> None:
    checks = {
        f"{key.asset_key.to_user_string()}: {key.name}": graph().get_check_spec(key).blocking
        for key in graph().asset_check_keys
    }
    assert dict(sorted(checks.items())) == snapshot


def test_jobs_and_what_they_run(snapshot: SnapshotAssertion) -> None:
    jobs = {}
    for job in defs.resolve_all_job_defs():
        if not job.name.startswith("__"):
            layer = job.asset_layer
            jobs[job.name] = {
                "assets": names(layer.selected_asset_keys),
                "checks": sorted(str(key.name) for key in layer.asset_graph.asset_check_keys),
                "tags": {k: v for k, v in job.tags.items() if k.startswith("crewflow/")},
                "executor": job.executor_def.name,
            }
    assert dict(sorted(jobs.items())) == snapshot


def test_schedules_run_by_themselves(snapshot: SnapshotAssertion) -> None:
    repository = defs.get_repository_def()
    schedules = {
        schedule.name: {
            "cron": schedule.cron_schedule,
            "zone": schedule.execution_timezone,
            "job": schedule.job_name,
            "status": schedule.default_status.value,
        }
        for schedule in repository.schedule_defs
    }
    assert schedules == snapshot


def test_sensors_run_by_themselves(snapshot: SnapshotAssertion) -> None:
    repository = defs.get_repository_def()
    sensors = {
        sensor.name: {
            "jobs": sorted(target.job_name for target in sensor.targets),
            "seconds": sensor.minimum_interval_seconds,
            "status": sensor.default_status.value,
        }
        for sensor in repository.sensor_defs
    }
    assert sensors == snapshot


def test_every_definition_can_be_loaded_by_dagster() -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_model_has_the_same_four_assets_a_check_a_job_and_a_schedule() -> None:
    from crewflow_assets.models import MODEL_SPECS

    keys = set(names(graph().get_all_asset_keys()))
    jobs = {job.name for job in defs.resolve_all_job_defs()}
    schedules = {schedule.name for schedule in defs.get_repository_def().schedule_defs}
    for spec in MODEL_SPECS:
        assert {f"{spec.name}/{name}" for name in ("features", "candidate", "evaluation", "champion")} <= keys
        assert f"{spec.name}_training" in jobs
        assert f"{spec.name}_schedule" in schedules


def test_loading_the_code_location_imports_no_heavy_library() -> None:
    script = (
        "import json, sys, pipelines.definitions; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded & HEAVY == set()
    assert loaded & LATER == set()
