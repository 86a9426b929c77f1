"""The Dagster code location: every asset, check, job, schedule and sensor of the platform."""

import dagster as dg

from pipelines.backtest import backtest_job, policies
from pipelines.experiments import experiment_looks, looks_job, looks_schedule
from pipelines.integrations import daily_scores, scores_job, unscored, watch, watch_job, watch_schedule
from pipelines.lake import lake_assets, lake_jobs, new_events
from pipelines.monitoring import monitoring_assets, monitoring_job, monitoring_schedule
from pipelines.resources import json_io
from pipelines.training import assets_and_checks, training_jobs, training_schedules, training_sensors
from pipelines.upkeep import with_upkeep

defs = dg.Definitions(
    assets=with_upkeep(
        [
            *lake_assets,
            *(asset for assets, _ in assets_and_checks.values() for asset in assets),
            watch,
            daily_scores,
            experiment_looks,
            policies,
            *monitoring_assets,
        ]
    ),
    asset_checks=[check for _, checks in assets_and_checks.values() for check in checks],
    jobs=[
        *lake_jobs.values(),
        *training_jobs.values(),
        watch_job,
        scores_job,
        looks_job,
        monitoring_job,
        backtest_job,
    ],
    schedules=[*training_schedules, watch_schedule, looks_schedule, monitoring_schedule],
    sensors=[new_events, *training_sensors, unscored],
    resources={"json_io": json_io},
    executor=dg.in_process_executor,  # steps share the process: starting one for each took longer than the steps
)
