"""What a service carries when it is packed: its packages, its models, and the proof that these are enough.

``python -m serving.packing cost_code_mapping`` answers each packed model's example with every package hidden that was
not declared.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from shutil import copytree
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crewflow_assets.errors import NotReadyError
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec

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


def packages(specs: Iterable[ModelSpec]) -> list[str]:
    """Return the requirements of a service of these models, at the versions that are installed here."""
    names = sorted({*EVERY_SERVICE, *(name for spec in specs for name in spec.packages)})
    return [f"{name}=={version(Requirement(name).name)}" for name in names]


def unpack() -> None:
    """Put a packed service's models and encoder into an empty home folder, where the services look for them."""
    if not PACKED.is_dir():
        return
    root = get_settings().root
    for packed in [*(PACKED / "models").iterdir(), *PACKED.glob("encoder")]:
        target = root / packed.relative_to(PACKED)
        if not target.exists():
            copytree(packed, target)
    for exported in (PACKED / "encoder").glob("*"):  # in place of a checkpoint, which is read with torch
        os.environ.setdefault("CREWFLOW_ENCODER", str(root / "encoder" / exported.name))
        get_settings.cache_clear()


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
    """Answer each model's example as a packed service would, without registry and with the declared packages alone.

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
    if "mlflow" in sys.modules or "dagster" in sys.modules or "torch" in sys.modules:
        raise NotReadyError("a packed service imports mlflow, dagster or torch; see what imports them")


if __name__ == "__main__":
    from crewflow_assets.models import spec_named
    from crewflow_assets.store import schema

    unpack()
    schema.upgrade()  # an empty store, which examples may ask
    check([spec_named(name) for name in sys.argv[1:]])
    sys.stdout.write("each example is answered with the declared packages alone\n")
