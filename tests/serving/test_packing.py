"""A packed service carries what answering needs, and nothing of training, tracking or orchestration."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, func, select

from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading
from crewflow_assets.store.sync_tables import Integration
from crewflow_assets.store.tables import Account
from serving import packing
from serving.packing import Hidden, closure, packages, unpack
from tests.serving.folder_registry import AWAY, SPEC, filled, said, started

NEVER = {"alembic", "dagster", "great-expectations", "matplotlib", "mlflow", "mlflow-skinny", "torch", "transformers"}
CODE = """
import sys
from crewflow_assets.models import MODEL_SPECS
from serving.packing import Hidden, closure, packages

sys.meta_path.insert(0, Hidden(closure(packages(MODEL_SPECS))))
import serving.gateway

for spec in MODEL_SPECS:
    spec.code()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("spec", MODEL_SPECS, ids=lambda spec: spec.name)
def test_a_model_declares_its_packages_and_brings_no_others(spec: ModelSpec) -> None:
    wanted = packages([spec])
    assert all("==" in one for one in wanted)
    brought = closure(wanted)
    assert brought >= {"bentoml", "fastapi", "sqlalchemy", *spec.packages}
    assert brought & NEVER == set()
    if "onnxruntime" not in spec.packages:
        assert "onnxruntime" not in brought


def test_services_and_models_import_with_the_declared_packages_alone(home: Path) -> None:
    """What answering imports later is proved by `crewflow build`, which has fitted models."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) & NEVER == set()


def test_hidden_packages_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [Hidden(closure(["numpy"])), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "honcho", raising=False)
    with pytest.raises(ModuleNotFoundError, match="honcho belongs to no package that was declared"):
        import_module("honcho")
    import_module("numpy.linalg")


def copied(folder: Path, day: int) -> str:
    """Write a model's folder as ``serving.model_cache`` does on a day of March, and return what its index says."""
    text = json.dumps({"numbers": {"champion": day}, "read_at": f"2026-03-{day:02d}T00:00:00+00:00"})
    (folder / str(day)).mkdir(parents=True)
    (folder / str(day) / "version.json").write_text(json.dumps({"label": f"1.{day}", "number": day, "run_id": "r-1"}))
    (folder / "aliases.json").write_text(text)
    return text


def test_unpacking_fills_a_home_and_leaves_what_is_newer_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, models = home / "bento" / "packed", get_settings().root / "models"
    said = {name: copied(packed / "models" / name, 10) for name in ("absent", "older", "newer")}
    copied(models / "older", 9)
    said["newer"] = copied(models / "newer", 11)
    (packed / "encoder" / "abc").mkdir(parents=True)
    (home / "encoder" / "of an earlier service").mkdir(parents=True)
    monkeypatch.setattr(packing, "PACKED", packed)
    monkeypatch.setenv("CREWFLOW_ENCODER", "")
    monkeypatch.delenv("CREWFLOW_ENCODER")  # so that what is set meanwhile is undone
    for _ in range(2):
        unpack()
    assert {name: (models / name / "aliases.json").read_text() for name in said} == said
    assert {path.name for path in models.iterdir()} == set(said)
    assert [path.name for path in sorted((models / "older").iterdir())] == ["10", "aliases.json"]
    assert (home / "encoder" / "abc").is_dir()
    assert get_settings().encoder == str(home / "encoder" / "abc")


def harm(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize("started_before", [False, True])
@pytest.mark.parametrize(
    "harmed", ["1/model/said.json", "2/model/said.json", "1/version.json", "aliases.json", "1", "2"]
)
def test_a_packed_service_mends_a_damaged_copy_at_its_next_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, harmed: str, started_before: bool
) -> None:
    registry = filled(home)
    started(registry)
    copies = home / "models"
    shutil.copytree(copies, home / "bento" / "packed" / "models")
    monkeypatch.setattr(packing, "PACKED", home / "bento" / "packed")
    registry.away = AWAY
    unpack()
    harm(copies / "reading" / harmed)
    if started_before:
        assert started(registry)[0].problem(SPEC) is not None
    unpack()
    predictors, _ = started(registry)
    assert (said(predictors), said(predictors, "challenger")) == ("one", "two")
    assert predictors.problem(SPEC) is None


def test_newer_models_stay_while_their_champion_is_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, models = home / "bento" / "packed", get_settings().root / "models"
    of_old = copied(packed / "models" / "m", 10)
    newer = copied(models / "m", 11).replace("}", ', "challenger": 12}', 1)
    index = models / "m" / "aliases.json"
    index.write_text(newer)
    monkeypatch.setattr(packing, "PACKED", packed)
    unpack()
    assert index.read_text() == newer
    shutil.rmtree(models / "m" / "11")
    unpack()
    assert index.read_text() == of_old


def test_services_that_start_together_unpack_in_turn(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = home / "bento" / "packed"
    for number in range(20):
        copied(packed / "models" / f"m-{number}", 10)
    monkeypatch.setattr(packing, "PACKED", packed)
    together = Barrier(4)

    def start() -> None:
        together.wait()
        unpack()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(start) for _ in range(4)]:
            done.result()
    assert len(list((get_settings().root / "models").iterdir())) == 20


def test_the_rehearsed_store_knows_what_the_models_are_asked_without_options(sqlite_store: Engine) -> None:
    packing.rehearse()
    least = {spec.name: packing._least(spec) for spec in MODEL_SPECS}
    assert {request.company_id for request in least.values()} == {packing.COMPANY}
    assert least["sync_health"].model_dump(exclude_none=True).keys() == {"version", "company_id", "integration_id"}
    with reading() as session:
        [integration] = session.scalars(select(Integration))
        assert (integration.company_id, integration.integration_id) == (packing.COMPANY, packing.INTEGRATION)
        assert session.scalar(select(func.count()).select_from(Account)) == 2
