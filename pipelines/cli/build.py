"""``crewflow build``: a model's service, or the gateway, packed with exactly what it needs."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crewflow_assets.spec import ModelSpec

ROOT = Path(__file__).parents[2]
CODE = ("crewflow_assets", "serving")
GATEWAY = "gateway"


def build(
    service: Annotated[str, typer.Argument(help="A model's name, or gateway for all that are registered.")] = GATEWAY,
) -> None:
    """Pack a service as a bento: code, champion and challenger, encoder, and the packages that answering needs.

    A bento runs without Dagster, MLflow, torch and a registry: it serves the models it contains, or those in the
    `models` folder of its CREWFLOW_HOME where these are newer. Before packing, the service has to answer its models'
    examples with every undeclared package hidden.

    \b
    Examples:
      crewflow build sync_health
      crewflow build gateway
      bentoml serve sync_health:latest
    """
    from importlib.metadata import version as installed

    from crewflow_assets import registry
    from crewflow_assets.errors import NotFoundError, NotReadyError
    from crewflow_assets.models import MODEL_SPECS, spec_named
    from serving.model_cache import ModelCache
    from serving.packing import packages

    wanted = MODEL_SPECS if service == GATEWAY else (spec_named(service),)
    cache = ModelCache(registry)
    specs: list[ModelSpec] = []
    for spec in wanted:
        try:
            for alias in sorted({registry.CHAMPION, *cache.alias_numbers(spec)}):
                cache.load(spec, alias)
        except (NotReadyError, NotFoundError) as error:
            if service != GATEWAY:
                raise
            typer.echo(f"left out: {error}", err=True)
        else:
            specs.append(spec)
    if not specs:
        raise NotReadyError("no model is registered yet; run `crewflow demo`")
    with TemporaryDirectory(prefix="crewflow-build-") as folder:
        context = Path(folder)
        _fill(context, specs)
        _prove(context, specs)
        typer.echo(f"{', '.join(spec.name for spec in specs)}: answered with the declared packages alone")
        import bentoml

        bento = bentoml.bentos.build(
            "serving.gateway:service" if service == GATEWAY else f"serving.services:{service}",
            name="crewflow_ml" if service == GATEWAY else service,
            labels={"crewflow": installed("crewflow-ml")},
            include=["**"],
            python={"packages": packages(specs), "lock_packages": False},
            build_ctx=str(context),
        )
    typer.echo(f"packed: {bento.tag}; start it with: bentoml serve {bento.tag}")


def _fill(context: Path, specs: "Sequence[ModelSpec]") -> None:
    """Lay out code, models and encoder as the packed service finds them."""
    from shutil import copytree, ignore_patterns

    from crewflow_assets import encoder
    from crewflow_assets.settings import get_settings
    from serving.copies import DAMAGED

    for package in CODE:
        copytree(ROOT / package, context / package, ignore=ignore_patterns("__pycache__"))
    sound = ignore_patterns(DAMAGED, ".*")
    for spec in specs:
        models = get_settings().root / "models" / spec.name
        copytree(models, context / "packed" / "models" / spec.name, ignore=sound)
    if any("onnxruntime" in spec.packages for spec in specs):
        exported = encoder.exported(encoder.checkpoint())
        copytree(exported, context / "packed" / "encoder" / exported.name, ignore=ignore_patterns("*.db*"))


def _prove(context: Path, specs: "Sequence[ModelSpec]") -> None:
    """Let the packed code answer its examples in an empty home folder.

    Raises:
        NotReadyError: it cannot; its last words are told.
    """
    from crewflow_assets.errors import NotReadyError

    kept = {name: value for name, value in os.environ.items() if not name.startswith("CREWFLOW_")}
    with TemporaryDirectory(prefix="crewflow-home-") as home:
        done = subprocess.run(
            [sys.executable, "-m", "serving.packing", *(spec.name for spec in specs)],
            cwd=context,
            env=kept | {"CREWFLOW_HOME": home, "PYTHONPATH": str(context), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise NotReadyError(f"the service does not run as packed:\n{done.stderr[-1500:]}")
