"""Experiments as an asset: a look at each running one every night, with its confidence sequence and what followed."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from crewflow_assets.experiments.analysis import Results
from crewflow_assets.experiments.ledger import RUNNING, every
from crewflow_assets.experiments.looks import look, looks_of
from crewflow_assets.lifecycle import picture
from crewflow_assets.store.database import reading
from crewflow_assets.store.experiment_tables import Experiment, ExperimentLook

RATIO, HARM = "sample_ratio", "no_harm"


@dg.asset(
    name="looks",
    key_prefix="experiments",
    group_name="experiments",
    description="What every running experiment shows today, and what followed: stopped for harm, a winner proposed, "
    "or its time over. Looking again is no error: the intervals hold at all looks at once.",
    check_specs=[
        dg.AssetCheckSpec(
            RATIO,
            asset=dg.AssetKey(["experiments", "looks"]),
            description="Every arm holds as many companies as planned; otherwise its results mean nothing.",
        ),
        dg.AssetCheckSpec(
            HARM,
            asset=dg.AssetKey(["experiments", "looks"]),
            description="No arm was shown to be worse than the control by any metric.",
        ),
    ],
    kinds={"python"},
)
def experiment_looks(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Look at each running experiment; one that cannot be looked at fails the run after the others were.

    With checks Dagster takes the result's type without its parameter only.
    """
    with reading() as session:
        names = [row.name for row in every(session) if row.state == RUNNING]
    taken: dict[str, tuple[Experiment, ExperimentLook]] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            taken[name] = look(name)
        except Exception as error:
            context.log.exception("the experiment %s could not be looked at", name)
            failed[name] = f"{type(error).__name__}: {error}"
    if failed:
        raise dg.Failure("; ".join(f"{name}: {text}" for name, text in failed.items()))
    metadata: dict[str, Any] = {"experiments": len(taken)}
    for name, (row, one) in taken.items():
        metadata |= _metadata(name, row, one)
    return dg.MaterializeResult(metadata=metadata, check_results=_checks(taken))


def _metadata(name: str, row: Experiment, taken: ExperimentLook) -> dict[str, Any]:
    from crewflow_assets.experiments.plots import sequence_plot

    with reading() as session:
        looks = looks_of(session, row)
    results = Results.model_validate(taken.results)
    rows = [one.model_dump(mode="json") for one in results.comparisons]
    found: dict[str, Any] = {
        f"{name}: verdict": f"{taken.verdict}: {taken.why}",
        f"{name}: companies": ", ".join(
            f"{arm.variant} {arm.answered} ({arm.with_outcome} with outcome)" for arm in results.arms
        ),
        f"{name}: results": dg.TableMetadataValue(
            records=[dg.TableRecord({k: _shown(v) for k, v in one.items()}) for one in rows],
            schema=dg.TableSchema([dg.TableColumn(column) for column in rows[0]]),
        ),
    }
    for metric in row.metrics:
        png = sequence_plot(looks, metric, began=row.started_at, title=f"{name}: treatment minus control")
        if png is not None:
            found[f"{name}: {metric}"] = picture(metric, png)
    return found


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    return round(value, 4) if isinstance(value, float) else value


def _checks(taken: Mapping[str, tuple[Experiment, ExperimentLook]]) -> list[dg.AssetCheckResult]:
    uneven = {name: one.why for name, (_, one) in taken.items() if not one.results["ratio_ok"]}
    harmful = {
        name: one.why
        for name, (_, one) in taken.items()
        if any(compared["reading"] == "worse" for compared in one.results["comparisons"])
    }
    return [
        dg.AssetCheckResult(passed=not found, check_name=check, metadata=dict(found), severity=severity)
        for check, found, severity in (
            (RATIO, uneven, dg.AssetCheckSeverity.ERROR),
            (HARM, harmful, dg.AssetCheckSeverity.WARN),
        )
    ]


looks_job = dg.define_asset_job(
    "experiments_looks",
    selection=dg.AssetSelection.assets(experiment_looks),
    description="Look at every running experiment, and act on it.",
)
looks_schedule = dg.ScheduleDefinition(
    name="experiments_looks_schedule",
    job=looks_job,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
