"""Models in production as assets: accuracy from outcomes, and the weekly looks for drift as asset checks."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from crewflow_assets import clock
from crewflow_assets.lifecycle import evaluation_metadata
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.monitoring.accuracy import WEEK, monday
from crewflow_assets.monitoring.alerts import open_alerts
from crewflow_assets.monitoring.looks import ASPECTS, SHOWN_WEEKS, Aspect, Champion, keep, look, looks_due, looks_of
from crewflow_assets.monitoring.report import accuracy_report, drift_plot, drift_table
from crewflow_assets.spec import Evaluation, ModelSpec
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.monitoring_tables import DriftLook

GROUP = "monitoring"


def accuracy_asset(spec: ModelSpec) -> dg.AssetsDefinition:
    """Make the asset that shows how right a model is in production."""

    @dg.asset(
        name=f"{spec.name}_accuracy",
        key_prefix=GROUP,
        group_name=GROUP,
        description=f"How right {spec.name} was in the last {SHOWN_WEEKS} weeks, from known outcomes, by week, "
        "version and variant. Silence counts as nothing; withheld decisions stand for the automatic ones.",
        deps=[dg.AssetKey([spec.name, "champion"])],
        kinds={"python"},
    )
    def accuracy() -> dg.MaterializeResult[None]:
        with reading() as session:
            found = accuracy_report(session, spec, clock.now())
        return dg.MaterializeResult(metadata=evaluation_metadata(found))

    return accuracy


def drift_asset(spec: ModelSpec) -> dg.AssetsDefinition:
    """Make the asset that compares each complete week with the weeks before, with a check for each aspect."""
    key = dg.AssetKey([GROUP, f"{spec.name}_drift"])

    @dg.asset(
        key=key,
        group_name=GROUP,
        description=f"Whether requests, answers and calibration of {spec.name} differ from the weeks that its "
        "champion knew by more than chance. A week is looked at once, when it is over; its calibration later.",
        deps=[dg.AssetKey([spec.name, "champion"])],
        check_specs=[
            dg.AssetCheckSpec(
                f"{aspect}_drift", asset=key, description=f"The newest complete week's {aspect} are as before."
            )
            for aspect in ASPECTS
        ],
        kinds={"python"},
    )
    def drift(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        from crewflow_assets import registry

        now = clock.now()
        due: dict[date, list[Aspect]] = {}
        if registry.CHAMPION in registry.alias_numbers(spec):
            champion = registry.find(spec, registry.CHAMPION)
            known = Champion(champion.label, champion.data_until)
            with reading() as session:
                due = looks_due(session, spec, now)
        for week, aspects in due.items():
            with reading() as session:
                found = look(session, spec, week, known, now, aspects=aspects)
            with transaction() as session:  # apart: comparing takes seconds, and a writer on SQLite keeps others out
                keep(session, found)
            for one in found:
                if one.drifted:
                    context.log.warning("%s, week of %s: %s", spec.name, week, one.said)
        with reading() as session:
            shown = looks_of(session, spec, monday(now) - SHOWN_WEEKS * WEEK)
            alerts = [f"{alert.cause} since {alert.opened_at:%Y-%m-%d}" for alert in open_alerts(session, spec.name)]
        plot = drift_plot(spec, shown)
        report = Evaluation((), plots={} if plot is None else {"drift": plot}, tables={"looks": drift_table(shown)})
        yield dg.MaterializeResult(
            metadata=evaluation_metadata(report) | {"weeks_looked_at": len(due), "open_alerts": ", ".join(alerts)},
            check_results=[_check(key, aspect, shown) for aspect in ASPECTS],
        )

    return drift


def _check(key: dg.AssetKey, aspect: str, looks: Sequence[DriftLook]) -> dg.AssetCheckResult:
    """Return the result of an aspect's newest look; weeks that could not be compared pass and say why."""
    newest = max((one for one in looks if one.aspect == aspect), key=lambda one: one.week, default=None)
    if newest is None:
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=f"{aspect}_drift",
            passed=True,
            description="no complete week with predictions yet",
        )
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=f"{aspect}_drift",
        passed=not newest.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"week of {newest.week}: {newest.said}",
        metadata={
            "rows": newest.rows,
            "companies": newest.companies,
            "p_value": -1.0 if newest.p_value is None else newest.p_value,
            "parts": dg.MetadataValue.json(newest.parts),
        },
    )


monitoring_assets = [make(spec) for spec in MODEL_SPECS for make in (accuracy_asset, drift_asset)]

monitoring_job = dg.define_asset_job(
    "models_monitoring",
    selection=dg.AssetSelection.groups(GROUP),
    description="Accuracy in production and drift of every model.",
)

monitoring_schedule = dg.ScheduleDefinition(
    name="models_monitoring_schedule",
    job=monitoring_job,
    cron_schedule="15 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every morning: outcomes come in late, and a week that is over is looked at once.",
)
