"""What the steps of a training do, without Dagster: the table, the registered version, and what becomes of it."""

import hashlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.lake.events import stale_days, write_days
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec, Predictor
from crewflow_assets.store.database import reading

if TYPE_CHECKING:
    import pandas as pd

    from crewflow_assets.registration import TrainingRecord
    from crewflow_assets.registry import VersionInfo

KEPT_TABLES = 5
PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "torch", "transformers", "xgboost")


def complete_lake(spec: ModelSpec) -> None:
    """Write what came in since the lake's last run, so that all events before the cut-off are in it."""
    for kind in spec.event_kinds:
        with reading() as session:
            stale = stale_days(session, kind)
        with reading() as session:
            write_days(session, kind, stale)


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


def read_features(features: Mapping[str, Any]) -> "pd.DataFrame":
    """Read the table that the features asset handed on."""
    import pandas as pd

    return pd.read_parquet(features["path"])


def register(spec: ModelSpec, predictor: Predictor, record: "TrainingRecord") -> "VersionInfo":
    """Save a predictor and register it."""
    from crewflow_assets import registration

    with TemporaryDirectory() as folder:
        predictor.save(Path(folder))
        (Path(folder) / MODEL_NAME).write_text(spec.name)
        return registration.register(spec, Path(folder), record)


def record_of(spec: ModelSpec, features: Mapping[str, Any], seed: int, role: str, run_id: str) -> "TrainingRecord":
    """Return what makes a training repeatable."""
    from crewflow_assets.registration import TrainingRecord

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


def decide(
    spec: ModelSpec, features: Mapping[str, Any], evaluation: Mapping[str, Any], run_id: str
) -> tuple[str, str]:
    """Do with the candidate what its evaluation calls for; return what became of which version, and why."""
    from crewflow_assets import promotion, registry
    from crewflow_assets.evaluation.promotion import decide_promotion

    version = registry.find(spec, evaluation["version"])
    with reading() as session:
        barred = promotion.barred(session, spec, version.number)
    alias, reason = decide_promotion(spec, evaluation, number=version.number, barred=barred)
    if alias != registry.CHAMPION:
        promotion.promote(
            spec,
            version.label,
            alias=registry.CHALLENGER,
            by=promotion.TRAINING,
            method=promotion.TRAINING,
            why=reason,
            run_id=run_id,
        )
        if alias is not None:
            return f"{version.label} is {alias}", reason
        table = read_features(features)
        version, reason = _best_baseline(spec, table, features, evaluation["seed"], run_id, reason)
        with reading() as session:
            barred = promotion.barred(session, spec, version.number)
        if barred is not None:
            return f"{version.label} stays without an alias", barred
    expected = promotion.Expected(evaluation["present"])
    row = promotion.propose(spec, version.label, why=reason, run_id=run_id, instead_of=expected)
    if row is not None and row.state == "pending":
        return f"{version.label} waits for approval", row.why
    return f"{version.label} is champion", reason


def _best_baseline(
    spec: ModelSpec, table: "pd.DataFrame", features: Mapping[str, Any], seed: int, run_id: str, why: str
) -> "tuple[VersionInfo, str]":
    """Register the best baseline, which is champion while no candidate has met the gates."""
    from crewflow_assets import registry

    code = spec.code()
    baselines = code.baselines(table, seed=seed)
    scores = {name: float(code.row_scores(p, table)["score"].mean()) for name, p in baselines.items()}
    best = max(scores, key=scores.__getitem__)
    record = record_of(spec, features, seed, f"baseline: {best}", run_id)
    version = register(spec, baselines[best], record)
    others = {name: p for name, p in baselines.items() if name != best}
    registry.log_evaluation(version, code.evaluate(baselines[best], others, table))
    return version, f"the baseline “{best}” stands in, since the first candidate failed ({why})"
