"""The life of a model as Dagster assets, made from its spec: features, checks, candidate, evaluation, champion."""

import hashlib
import importlib.metadata
import inspect
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from crewflow_assets import clock
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.quality import feature_check
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Evaluation, ModelSpec, Predictor

if TYPE_CHECKING:
    import pandas as pd

    from crewflow_assets.registry import TrainingRecord, VersionInfo

KEPT_TABLES = 5
PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "torch", "transformers", "xgboost")


class TrainingConfig(dg.Config):
    """What a training run can be told."""

    seed: int | None = Field(None, description="Seed of the fit; by default CREWFLOW_SEED.")


def model_assets(spec: ModelSpec) -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """Return the assets and asset checks of a model; values handed on are small JSON objects."""

    def asset(
        name: str, description: str, deps: list[dg.AssetKey] | None = None
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        return dg.asset(
            name=name,
            key_prefix=spec.name,
            group_name=spec.name,
            description=description,
            deps=deps or [],
            kinds={"python"},
            io_manager_key="json_io",
        )

    @asset(
        "features",
        f"The feature table of {spec.name}, built from everything before now. {spec.question}",
        [dg.AssetKey(["lake", kind]) for kind in spec.event_kinds],
    )
    def features() -> dg.MaterializeResult[dict[str, Any]]:
        cutoff = clock.now()
        table = spec.code().build_features(cutoff)
        path, digest = write_features(spec, table)
        return dg.MaterializeResult(
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
        from crewflow_assets import registry

        seed = get_settings().seed if config.seed is None else config.seed
        record = _record(spec, features, seed, "candidate", context.run.run_id)
        version = registry.equal_to(spec, record) or _register(
            spec, spec.code().fit(_read(features), seed=seed), record
        )
        return dg.MaterializeResult(
            value={"version": version.label, "seed": seed},
            metadata={"version": version.label, "number": version.number, "fingerprint": record.fingerprint},
        )

    @asset("evaluation", f"What the candidate of {spec.name} scores where it was not trained, beside the baselines.")
    def evaluation(features: dict[str, Any], candidate: dict[str, Any]) -> dg.MaterializeResult[dict[str, Any]]:
        from crewflow_assets import registry
        from crewflow_assets.evaluation.promotion import check_gates, gain

        code, table = spec.code(), _read(features)
        version = registry.find(spec, candidate["version"])
        predictor = code.load(registry.folder_of(version))
        found = code.evaluate(predictor, code.baselines(table, seed=candidate["seed"]), table)
        registry.log_evaluation(version, found)
        gates = check_gates(spec.gates, found)
        compared = None
        champion_number = registry.alias_numbers(spec).get(registry.CHAMPION)
        if champion_number not in (None, version.number):
            champion = registry.load(spec, registry.CHAMPION)
            scores = [code.row_scores(p, table) for p in (predictor, champion.predictor)]
            difference = gain(*scores)
            compared = {"champion": champion.label, "gain": difference.value, "low": difference.low}
        return dg.MaterializeResult(
            value={
                "version": version.label,
                "seed": candidate["seed"],
                "failed": [str(result.gate) for result in gates if not result.passed],
                "compared": compared,
            },
            metadata=evaluation_metadata(found)
            | {
                "gates": _table([result.as_row() for result in gates]),
                "against_champion": dg.MetadataValue.json(compared or {}),
                "version": version.label,
            },
        )

    @asset("champion", f"The version of {spec.name} that answers by default; moved only here.")
    def champion(
        context: dg.AssetExecutionContext, features: dict[str, Any], evaluation: dict[str, Any]
    ) -> dg.MaterializeResult[dict[str, Any]]:
        from crewflow_assets import registry

        version = registry.find(spec, evaluation["version"])
        present = registry.alias_numbers(spec).get(registry.CHAMPION)
        alias, reason = decide_promotion(spec, evaluation, present=present, number=version.number)
        if alias is None:
            registry.promote(version, registry.CHALLENGER)
            registry.tag(version, "crewflow.decision", reason)
            table = _read(features)
            version, reason = _best_baseline(spec, table, features, evaluation["seed"], context.run.run_id, reason)
            alias = registry.CHAMPION
        elif alias == registry.CHAMPION:
            registry.retire_challenger(version)
        registry.promote(version, alias)
        registry.tag(version, "crewflow.decision", reason)
        context.log.info("%s %s is %s: %s", spec.name, version.label, alias, reason)
        standing = registry.find(spec, registry.CHAMPION)
        return dg.MaterializeResult(
            value={"champion": standing.label},
            metadata={"champion": standing.label, "decided": f"{version.label} is {alias}", "reason": reason},
        )

    return [features, candidate, evaluation, champion], [feature_check(spec)]


def decide_promotion(
    spec: ModelSpec, evaluation: Mapping[str, Any], *, present: int | None, number: int
) -> tuple[str | None, str]:
    """Return which alias the candidate gets, and why; no alias when the best baseline must stand in for it."""
    failed, compared = evaluation["failed"], evaluation["compared"]
    if present == number:
        return "champion", "it is the champion already"
    if failed:
        why = f"gates not met: {', '.join(failed)}"
        return (None if present is None else "challenger"), why
    if compared is None:
        return "champion", "all gates met, and there was no champion"
    bound = f"gain over {compared['champion']} {compared['gain']:+.4f}, lower 95 % bound {compared['low']:+.4f}"
    if compared["low"] > -spec.tolerance:
        return "champion", f"all gates met; {bound} is above −{spec.tolerance:g}"
    return "challenger", f"{bound} is not above −{spec.tolerance:g}"


def _best_baseline(
    spec: ModelSpec, table: "pd.DataFrame", features: Mapping[str, Any], seed: int, run_id: str, why: str
) -> "tuple[VersionInfo, str]":
    """Register the best baseline, which is champion while no candidate has met the gates."""
    from crewflow_assets import registry

    code = spec.code()
    baselines = code.baselines(table, seed=seed)
    scores = {name: float(code.row_scores(p, table)["score"].mean()) for name, p in baselines.items()}
    best = max(scores, key=scores.__getitem__)
    record = _record(spec, features, seed, f"baseline: {best}", run_id)
    version = _register(spec, baselines[best], record)
    others = {name: p for name, p in baselines.items() if name != best}
    registry.log_evaluation(version, code.evaluate(baselines[best], others, table))
    return version, f"the baseline “{best}” stands in, since the first candidate failed ({why})"


def write_features(spec: ModelSpec, table: "pd.DataFrame") -> tuple[Path, str]:
    """Write a feature table under its content's hash and return both; older tables but a few are removed."""
    folder = get_settings().root / "features" / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as unfinished:  # two runs may write at once
        file = Path(unfinished) / "features.parquet"
        table.to_parquet(file, index=False)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        path = file.rename(folder / f"{digest}.parquet")
    newest_first = sorted(folder.glob("*.parquet"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in newest_first[KEPT_TABLES:]:
        old.unlink()
    return path, digest


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
        metadata[name] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{b64encode(png).decode()})")
    for name, table in evaluation.tables.items():
        metadata[name] = dg.MetadataValue.md(table.to_markdown(index=False))
    return metadata


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue:
    records = [dg.TableRecord({k: "" if v is None else v for k, v in row.items()}) for row in rows]
    return dg.MetadataValue.table(
        records=records, schema=dg.TableSchema([dg.TableColumn(name) for name in (rows[0] if rows else {})])
    )


def _read(features: Mapping[str, Any]) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(features["path"])


def _register(spec: ModelSpec, predictor: Predictor, record: "TrainingRecord") -> "VersionInfo":
    from crewflow_assets import registry

    with TemporaryDirectory() as folder:
        predictor.save(Path(folder))
        (Path(folder) / MODEL_NAME).write_text(spec.name)
        return registry.register(spec, Path(folder), record)


def _record(spec: ModelSpec, features: Mapping[str, Any], seed: int, role: str, run_id: str) -> "TrainingRecord":
    from crewflow_assets.registry import TrainingRecord

    return TrainingRecord(
        role=role,
        seed=seed,
        data_until=datetime.fromisoformat(features["until"]),
        feature_hash=features["hash"],
        code_hash=code_hash(spec),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        run_id=run_id,
    )


def code_hash(spec: ModelSpec) -> str:
    """Return a hash of the source that can change what is trained: the model's folder and what it stands on."""
    folder = Path(inspect.getfile(spec.code)).parent
    shared = (folder.parent / part for part in ("evaluation", "lake", "encoder.py", "spec.py"))
    digest = hashlib.sha256()
    for part in (folder, *shared):
        for file in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
