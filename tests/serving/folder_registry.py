"""A registry of folders, and a service that reads it through the copy on disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crewflow_assets.errors import NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.spec import ModelSpec, Predictor
from serving.model_cache import ModelCache
from serving.predictors import Predictors, VersionInfo
from tests.serving.fakes import ECHO, EchoCode, FakePredictor, FakeVersion


@dataclass
class Said(FakePredictor):
    text: str = ""


class ReadingCode(EchoCode):
    def load(self, folder: Path) -> Predictor:
        return Said(json.loads((folder / "said.json").read_text()))


SPEC = replace(ECHO, name="reading", code=ReadingCode)


@dataclass
class FolderRegistry:
    """A registry of folders: version numbers with what each says, and aliases."""

    root: Path
    aliases: dict[str, int] = field(default_factory=dict)
    away: Exception | None = None
    run_id: str = "r-1"

    def add(self, number: int, said: str) -> None:
        folder = self.root / str(number)
        folder.mkdir(parents=True)
        (folder / "said.json").write_text(json.dumps(said))

    def find(self, spec: ModelSpec, version: str) -> FakeVersion:
        self.check()
        numbers = sorted(int(folder.name) for folder in self.root.iterdir()) if self.root.exists() else []
        if not numbers:
            raise NotReadyError(f"no {spec.name} is registered yet")
        for number in numbers:
            named = tuple(alias for alias, at in self.aliases.items() if at == number)
            if version == f"1.{number}" or version in named:
                return FakeVersion(f"1.{number}", number, named, run_id=self.run_id)
        raise NotFoundError(f"{spec.name} has no version {version!r}")

    def folder_of(self, info: FakeVersion) -> Path:
        return self.root / str(info.number)

    def alias_numbers(self, spec: ModelSpec) -> dict[str, int]:  # noqa: ARG002
        self.check()
        return dict(self.aliases)

    def run_of(self, spec: ModelSpec, number: int) -> str:  # noqa: ARG002
        self.check()
        if not (self.root / str(number)).exists():
            raise NotFoundError(f"{SPEC.name} has no version {number}")
        return self.run_id

    def describe(self, spec: ModelSpec) -> Sequence[VersionInfo]:  # noqa: ARG002
        return []

    def check(self) -> None:
        if self.away is not None:
            raise self.away


def filled(home: Path) -> FolderRegistry:
    """Return a registry of two versions, the champion and the challenger."""
    registry = FolderRegistry(home / "registry")
    registry.add(1, "one")
    registry.add(2, "two")
    registry.aliases = {"champion": 1, "challenger": 2}
    return registry


def said(predictors: Predictors, version: str = "champion") -> str:
    predictor = predictors.get(SPEC, version).predictor
    assert isinstance(predictor, Said)
    return predictor.text


def started(registry: FolderRegistry) -> tuple[Predictors, ModelCache]:
    cache = ModelCache(registry)
    predictors = Predictors([SPEC], cache)
    predictors.refresh()
    return predictors, cache


AWAY = RegistryAwayError("the model registry cannot be read")
