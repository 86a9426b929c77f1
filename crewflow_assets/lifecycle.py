"""The life of a model as Dagster assets, made from its spec: features, checks, candidate, evaluation, champion.

A run first claims its cause (``crewflow_assets.training.claims``); where another run has it, this one does nothing.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from crewflow_assets import clock
from crewflow_assets.errors import OutdatedModelError
from crewflow_assets.quality import feature_check
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Evaluation, ModelSpec
from crewflow_assets.training import claims, steps
from crewflow_assets.training.claims import Cause

REASON_TAG, WATERMARK_TAG, WHY_TAG = "crewflow/reason", "crewflow/watermark", "crewflow/why"


class TrainingConfig(dg.Config):
    """What a training run can be told."""

    seed: int | None = Field(None, description="Seed of the fit; by default CREWFLOW_SEED.")


def model_assets(spec: ModelSpec) -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """Return the assets and asset checks of a model; values handed on are small JSON objects."""

    def asset(
        name: str, description: str, deps: list[dg.AssetKey] | None = None, *, required: bool = True
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        return dg.asset(
            name=name,
            key_prefix=spec.name,
            group_name=spec.name,
            description=description,
            deps=deps or [],
            kinds={"python"},
            io_manager_key="json_io",
            output_required=required,
        )

    @asset(
        "features",
        f"The feature table of {spec.name}, built from everything before now. {spec.question}",
        [dg.AssetKey(["lake", kind]) for kind in spec.event_kinds],
        required=False,
    )
    def features(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[dict[str, Any]]]:
        run_id, why = context.run.run_id, context.run.tags.get(WHY_TAG, "started by hand")
        cause = _cause(spec, context.run)
        if claims.take(cause, run_id, why=why) is None:
            context.log.info("another run trains for %s, or has; this one has nothing to do", cause)
            return
        with _working(spec, context):
            cutoff = clock.now()
            steps.complete_lake(spec)
            table = spec.code().build_features(cutoff)
            path, digest = steps.write_features(spec, table)
        yield dg.MaterializeResult(
            value={"path": str(path), "hash": digest, "until": cutoff.isoformat()},
            metadata={
                "dagster/row_count": len(table),
                "path": dg.MetadataValue.path(path),
                "hash": digest,
                "columns": dg.MetadataValue.md(table.dtypes.astype(str).to_frame("type").to_markdown()),
            },
        )

    @asset("candidate", f"The newest trained version of {spec.name}, registered whatever it scores.")
    def candidate(
        context: dg.AssetExecutionContext, config: TrainingConfig, features: dict[str, Any]
    ) -> dg.MaterializeResult[dict[str, Any]]:
        from crewflow_assets import registration

        seed = get_settings().seed if config.seed is None else config.seed
        record = steps.record_of(spec, features, seed, "candidate", context.run.run_id)
        with _working(spec, context):
            version = registration.equal_to(spec, record) or steps.register(
                spec, spec.code().fit(steps.read_features(features), seed=seed), record
            )
        return dg.MaterializeResult(
            value={"version": version.label, "seed": seed},
            metadata={"version": version.label, "number": version.number, "fingerprint": record.fingerprint},
        )

    @asset("evaluation", f"What the candidate of {spec.name} scores where it was not trained, beside the baselines.")
    def evaluation(
        context: dg.AssetExecutionContext, features: dict[str, Any], candidate: dict[str, Any]
    ) -> dg.MaterializeResult[dict[str, Any]]:
        from crewflow_assets import registry
        from crewflow_assets.evaluation.promotion import check_gates, gain

        with _working(spec, context):
            code, table = spec.code(), steps.read_features(features)
            version = registry.find(spec, candidate["version"])
            predictor = code.load(registry.folder_of(version))
            found = code.evaluate(predictor, code.baselines(table, seed=candidate["seed"]), table)
            registry.log_evaluation(version, found)
            gates = check_gates(spec.gates, found)
            compared, outdated = None, None
            present = registry.alias_numbers(spec).get(registry.CHAMPION)
            if present not in (None, version.number):
                try:
                    champion = registry.load(spec, registry.CHAMPION)
                except OutdatedModelError as error:
                    outdated = str(error)
                else:
                    scores = [code.row_scores(p, table) for p in (predictor, champion.predictor)]
                    difference = gain(*scores)
                    compared = {"champion": champion.label, "gain": difference.value, "low": difference.low}
        return dg.MaterializeResult(
            value={
                "version": version.label,
                "seed": candidate["seed"],
                "failed": [str(result.gate) for result in gates if not result.passed],
                "present": present,
                "compared": compared,
                "outdated": outdated,
            },
            metadata=evaluation_metadata(found)
            | {
                "gates": _table([result.as_row() for result in gates]),
                "against_champion": dg.MetadataValue.json(compared or {"outdated": outdated}),
                "version": version.label,
            },
        )

    @asset("champion", f"The version of {spec.name} that answers by default, after what the evaluation found.")
    def champion(
        context: dg.AssetExecutionContext, features: dict[str, Any], evaluation: dict[str, Any]
    ) -> dg.MaterializeResult[dict[str, Any]]:
        from crewflow_assets import registry

        with _working(spec, context):
            decided, reason = steps.decide(spec, features, evaluation, context.run.run_id)
        until = datetime.fromisoformat(features["until"])
        claims.finish(_cause(spec, context.run), context.run.run_id, version=evaluation["version"], data_until=until)
        context.log.info("%s %s: %s", spec.name, decided, reason)
        number = registry.alias_numbers(spec).get(registry.CHAMPION)
        standing = next((version.label for version in registry.describe(spec) if version.number == number), None)
        return dg.MaterializeResult(
            value={"champion": standing},
            metadata={"champion": standing or "none yet", "decided": decided, "reason": reason},
        )

    return [features, candidate, evaluation, champion], [feature_check(spec, partial(_alive, spec))]


def _cause(spec: ModelSpec, run: dg.DagsterRun) -> Cause:
    """Return what the run trains for: the cause that its tags name, or that someone started it."""
    return Cause(spec.name, run.tags.get(REASON_TAG, claims.BY_HAND), run.tags.get(WATERMARK_TAG, run.run_id))


@contextmanager
def _working(spec: ModelSpec, context: dg.AssetExecutionContext) -> Iterator[None]:
    """Hold the run's claim while a step works; a run of single steps takes it here.

    Raises:
        ConflictError: another run has the claim.
    """
    cause, run_id = _cause(spec, context.run), context.run.run_id
    claims.take(cause, run_id, why=context.run.tags.get(WHY_TAG, "started by hand"))
    with claims.working(cause, run_id):
        yield


@contextmanager
def _alive(spec: ModelSpec, run: dg.DagsterRun) -> Iterator[None]:
    """Keep the run's claim alive, if it has one; a run of the check alone has none, since it trains nothing."""
    cause = _cause(spec, run)
    with claims.working(cause, run.run_id) if claims.held(cause, run.run_id) else nullcontext():
        yield


def evaluation_metadata(evaluation: Evaluation) -> dict[str, dg.MetadataValue[Any]]:
    """Return figures, plots and tables as Dagster shows them."""
    rows = [
        {
            "figure": f.name,
            "value": _rounded(f.value),
            "low": _rounded(f.low),
            "high": _rounded(f.high),
            "n": f.n,
            "baseline": f.baseline or "",
            "baseline_value": _rounded(f.baseline_value),
        }
        for f in evaluation.figures
    ]
    metadata: dict[str, dg.MetadataValue[Any]] = {"figures": _table(rows)}
    for name, png in evaluation.plots.items():
        metadata[name] = picture(name, png)
    for name, table in evaluation.tables.items():
        metadata[name] = dg.MetadataValue.md(table.to_markdown(index=False))
    return metadata


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """Return a plot as Dagster shows it, inside the metadata; the name stands in for those who cannot see it."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{b64encode(png).decode()})")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    records = [dg.TableRecord({k: "" if v is None else v for k, v in row.items()}) for row in rows]
    return dg.MetadataValue.table(
        records=records, schema=dg.TableSchema([dg.TableColumn(name) for name in (rows[0] if rows else {})])
    )
