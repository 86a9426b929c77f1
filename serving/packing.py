"""What a service carries when it is packed: its packages, its models, and the proof that these are enough.

``python -m serving.packing cost_code_mapping`` answers each packed model's example, from what it says and from the
store, with every package hidden that was not declared.
"""

import fcntl
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from shutil import copytree
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crewflow_assets import clock
from crewflow_assets.contract import PredictionRequest
from crewflow_assets.errors import InvalidInputError, NotReadyError
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.ingest.files import import_rows
from crewflow_assets.ingest.rows import AccountRow
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import transaction
from serving.copies import DAMAGED, about_copy, is_whole, replacing
from serving.model_cache import index_in

EVERY_SERVICE = (
    "bentoml",
    "charset-normalizer",
    "fastapi",
    "numpy",
    "openpyxl",
    "packaging",
    "prometheus-client",
    "psycopg[binary]",
    "pydantic-settings",
    "sqlalchemy",
)
"""What guard, routes and store need; a model's own packages stand in its spec."""
PACKED = Path(__file__).parents[1] / "packed"
"""Beside the code of a packed service: ``models`` and ``encoder`` as they lie under the home folder."""
COMPANY, SYSTEM, INTEGRATION, DAYS = "c-1", "quickbooks", "i-3", 40
"""What the rehearsed store knows; the integration is that of the models' examples."""


def packages(specs: Iterable[ModelSpec]) -> list[str]:
    """Return the requirements of a service of these models, at the versions that are installed here."""
    names = sorted({*EVERY_SERVICE, *(name for spec in specs for name in spec.packages)})
    return [f"{name}=={version(Requirement(name).name)}" for name in names]


def unpack() -> None:
    """Put a packed service's models and encoder into the home folder, where the services look for them.

    Models that are there already stay where their aliases were read from a registry after the service was packed,
    unless the champion's copy is lost, or damaged and therefore put aside.
    """
    if not PACKED.is_dir():
        return
    root = get_settings().root
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".unpacking").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several services may start on one home
        _unpack(root)


def _unpack(root: Path) -> None:
    for packed in (PACKED / "models").iterdir():
        target = root / "models" / packed.name
        if not _stays(target, packed):
            with replacing(target) as new:
                copytree(packed, new)
                if (target / DAMAGED).is_dir():
                    (target / DAMAGED).rename(new / DAMAGED)
    for exported in (PACKED / "encoder").glob("*"):  # in place of a checkpoint, which is read with torch
        target = root / "encoder" / exported.name
        if not target.exists():
            with replacing(target) as new:
                copytree(exported, new)
        os.environ.setdefault("CREWFLOW_ENCODER", str(target))
        get_settings.cache_clear()


def _stays(folder: Path, packed: Path) -> bool:
    """Say whether a model's folder is kept: newer than the packed one and with its champion, or as old and whole."""
    here, there = index_in(folder), index_in(packed)
    if here is None or there is None or here.read_at < there.read_at:
        return False
    copies = {alias: folder / str(number) for alias, number in here.numbers.items()}
    lost = {alias for alias, copy in copies.items() if not about_copy(copy) or not is_whole(copy)}
    if here.read_at > there.read_at:
        return "champion" in here.numbers and "champion" not in lost
    return not lost


def closure(requirements: Sequence[str]) -> set[str]:
    """Return the distributions that requirements bring with them, themselves included."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(one) for one in requirements]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            try:
                inner = requires(requirement.name) or ()
            except PackageNotFoundError:  # for another platform
                continue
            parts = (Requirement(one) for one in inner)
            waiting += [one for one in parts if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


class Hidden(MetaPathFinder):
    """Lets nothing be imported that belongs to a distribution outside of those allowed."""

    def __init__(self, allowed: set[str]) -> None:
        self._hidden = {
            module
            for module, owners in packages_distributions().items()
            if not {canonicalize_name(owner) for owner in owners} & allowed
        }

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Refuse a hidden module; leave the others to the finders that follow."""
        top = fullname.partition(".")[0]
        if top in self._hidden and top not in {"crewflow_assets", "serving"}:
            raise ModuleNotFoundError(f"{fullname} belongs to no package that was declared", name=fullname)
        return None


def check(specs: Sequence[ModelSpec]) -> None:
    """Answer as a packed service would, without registry and with the declared packages alone.

    Each model is asked its example, and the same without what is optional: then the store of ``rehearse`` has to know
    it, or the answer is a refusal.

    Raises:
        NotReadyError: no copy of the model lies in the home folder.
        ModuleNotFoundError: a package is needed that was not declared.
        SQLAlchemyError: the example needs the store, and there is none.
    """
    sys.meta_path.insert(0, Hidden(closure(packages(specs))))
    from crewflow_assets import registry
    from serving.gateway import service  # noqa: F401  # that it can be imported is half of the proof
    from serving.model_cache import ModelCache

    cache = ModelCache(registry)
    for spec in specs:
        model = cache.load(spec, "champion")
        spec.code().answer(model.predictor, [spec.request_type.model_validate(dict(spec.example))])
        with suppress(InvalidInputError):
            spec.code().answer(model.predictor, [_least(spec)])
    if "mlflow" in sys.modules or "dagster" in sys.modules or "torch" in sys.modules:
        raise NotReadyError("a packed service imports mlflow, dagster or torch; see what imports them")


def _least(spec: ModelSpec) -> PredictionRequest:
    """Return a model's example with its required fields alone, of the rehearsed company."""
    fields = spec.request_type.model_fields
    required = {name: value for name, value in spec.example.items() if fields[name].is_required()}
    return spec.request_type.model_validate({**required, "company_id": COMPANY})


def rehearse() -> None:
    """Fill an empty store with what the examples speak of: a company, its chart, and some weeks of daily syncs."""
    now = clock.now()
    with transaction() as session:
        chart = [AccountRow(code="50100", name="Electrical Labor"), AccountRow(code="61000", name="Office")]
        import_rows(session, "accounts", COMPANY, SYSTEM, chart, company_name="Rehearsal", industry="electrical")
        syncs = [
            EventIn(
                event_id=f"sync-{day}",
                kind="sync_attempt",
                company_id=COMPANY,
                occurred_at=now - timedelta(days=day, hours=1),
                payload={"integration_id": INTEGRATION, "system": SYSTEM, "ok": day % 5 > 0, "latency_ms": 800.0},
            )
            for day in range(DAYS)
        ]
        record_events(session, syncs, handlers=EVENT_HANDLERS)


if __name__ == "__main__":
    from crewflow_assets.models import spec_named
    from crewflow_assets.store import schema

    unpack()
    schema.upgrade()
    rehearse()
    check([spec_named(name) for name in sys.argv[1:]])
    sys.stdout.write("each example is answered with the declared packages alone\n")
