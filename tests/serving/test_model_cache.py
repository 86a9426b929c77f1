"""What the registry gave last is served from disk when it is away."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from crewflow_assets import clock
from crewflow_assets.errors import NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.spec import ModelSpec, Predictor
from serving.model_cache import MOST_UNNAMED, ModelCache
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


@pytest.fixture
def registry(home: Path) -> FolderRegistry:
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


def test_a_version_of_the_same_number_in_another_registry_is_another_model(registry: FolderRegistry) -> None:
    started(registry)
    anew = FolderRegistry(registry.root.with_name("anew"), {"champion": 1}, run_id="r-2")
    anew.add(1, "one, trained anew")
    predictors, _ = started(anew)
    assert (said(predictors), said(predictors, "1.1")) == ("one, trained anew",) * 2
    anew.away = AWAY
    assert said(started(anew)[0]) == "one, trained anew"


@pytest.mark.parametrize("champion", [1, 2])
def test_a_running_server_takes_up_a_registry_that_was_made_anew_with_the_same_numbers(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch, champion: int
) -> None:
    for number in (3, 4):
        registry.add(number, str(number))
    predictors, cache = started(registry)
    predictors.hold(SPEC, {"1.3"})
    assert (said(predictors, "1.3"), said(predictors, "1.4")) == ("3", "4")
    anew = FolderRegistry(registry.root.with_name("anew"), {"champion": champion}, run_id="r-2")
    for number in (1, 2, 3, 4):
        anew.add(number, f"{number}, trained anew")
    monkeypatch.setattr(cache, "_registry", anew)
    monkeypatch.setattr("serving.predictors.RUNS_SECONDS", 0.0)
    assert predictors.refresh()
    predictors.hold(SPEC, {"1.3"})
    assert said(predictors) == f"{champion}, trained anew"
    assert (said(predictors, "1.3"), said(predictors, "1.4")) == ("3, trained anew", "4, trained anew")
    assert not predictors.refresh()
    anew.away = AWAY
    assert not predictors.refresh()
    assert said(predictors) == f"{champion}, trained anew"


def test_a_version_that_a_rebuilt_registry_lacks_is_let_go_of(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors, cache = started(registry)
    registry.add(5, "five")
    assert said(predictors, "1.5") == "five"
    anew = FolderRegistry(registry.root.with_name("anew"), {"champion": 6}, run_id="r-2")
    anew.add(6, "six")
    monkeypatch.setattr(cache, "_registry", anew)
    monkeypatch.setattr("serving.predictors.RUNS_SECONDS", 0.0)
    assert predictors.refresh()
    assert said(predictors) == "six"
    with pytest.raises(NotFoundError):
        said(predictors, "1.5")
    assert not predictors.refresh()


def test_a_server_starts_from_the_copy(registry: FolderRegistry) -> None:
    _, cache = started(registry)
    before = cache.origin(SPEC)
    assert before is not None
    assert before.source == "registry"
    then = clock.now()
    registry.away = AWAY
    predictors, cache = started(registry)
    assert (said(predictors), said(predictors, "challenger"), said(predictors, "1.2")) == ("one", "two", "two")
    origin = cache.origin(SPEC)
    assert origin is not None
    assert origin.source == "cache"
    assert origin.read_at <= then
    with pytest.raises(RegistryAwayError, match="cannot be read"):
        predictors.get(SPEC, "1.9")


@pytest.mark.parametrize("content", ["", "{", "[]"], ids=["empty", "torn", "other"])
@pytest.mark.parametrize("name", ["aliases.json", "version.json"])
def test_what_a_power_cut_left_torn_is_copied_anew(
    registry: FolderRegistry, home: Path, name: str, content: str
) -> None:
    started(registry)
    torn = list((home / "models").rglob(name))
    for file in torn:
        file.write_text(content)
    assert torn
    assert said(started(registry)[0]) == "one"
    registry.away = AWAY
    assert said(started(registry)[0]) == "one"


def test_an_outage_is_told_once_and_its_end_too(registry: FolderRegistry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "crewflow.serving")
    predictors, _ = started(registry)
    registry.away = AWAY
    for _ in range(3):
        predictors.refresh()
    registry.away = None
    for _ in range(2):
        predictors.refresh()
    told = [json.loads(record.message) for record in caplog.records if record.message.startswith("{")]
    assert [(line["event"], line["model"], line["wanted"]) for line in told] == [
        ("registry_away", "reading", "aliases"),
        ("registry_back", "reading", "aliases"),
    ]
    assert "cannot be read" in told[0]["error"]
    assert told[0]["copy_of"] is not None


def test_what_nobody_expected_is_not_taken_for_an_outage(registry: FolderRegistry) -> None:
    _, cache = started(registry)
    registry.away = KeyError("a bug")
    with pytest.raises(KeyError, match="a bug"):
        cache.alias_numbers(SPEC)
    with pytest.raises(KeyError, match="a bug"):
        cache.load(SPEC, "champion")


def test_a_disk_that_is_full_leaves_the_registry_in_force(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, cache = started(registry)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.model_cache._write_index", full)
    registry.aliases = {"champion": 2}
    assert cache.alias_numbers(SPEC) == {"champion": 2}
    assert '"wanted": "copy"' in caplog.text
    predictors, _ = started(registry)
    assert said(predictors) == "one", "the copy that there is"


def test_an_empty_registry_counts_as_away_where_there_is_a_copy(registry: FolderRegistry) -> None:
    started(registry)
    registry.root.rename(registry.root.with_name("lost"))
    registry.aliases = {}
    predictors, cache = started(registry)
    assert said(predictors) == "one"
    origin = cache.origin(SPEC)
    assert origin is not None
    assert origin.source == "cache"


@pytest.mark.parametrize("aliases", [{}, {"challenger": 1}])
def test_a_rebuilt_registry_without_a_champion_leaves_the_copy_in_force(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch, aliases: dict[str, int]
) -> None:
    running, cache = started(registry)
    anew = FolderRegistry(registry.root.with_name("anew"), aliases, run_id="r-2")
    anew.add(1, "one, trained anew")
    anew.add(3, "three, trained anew")
    monkeypatch.setattr(cache, "_registry", anew)
    monkeypatch.setattr("serving.predictors.RUNS_SECONDS", 0.0)
    assert not running.refresh()
    loads = count_loads(monkeypatch)
    assert not running.refresh()
    assert loads == [], "nothing changed"
    for predictors in (running, started(anew)[0], started(anew)[0]):
        assert (said(predictors), said(predictors, "challenger"), said(predictors, "1.2")) == ("one", "two", "two")
        assert said(predictors, "1.3") == "three, trained anew"
        origin = predictors.source.origin(SPEC)
        assert origin is not None
        assert origin.source == "cache"
        assert predictors.problem(SPEC) is None
    anew.aliases = {"champion": 3, "challenger": 1}
    assert running.refresh()
    for predictors in (running, started(anew)[0]):
        assert (said(predictors), said(predictors, "challenger")) == ("three, trained anew", "one, trained anew")


def count_loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    loads: list[Path] = []
    load = ReadingCode.load

    def counted(self: ReadingCode, folder: Path) -> Predictor:
        loads.append(folder)
        return load(self, folder)

    monkeypatch.setattr(ReadingCode, "load", counted)
    return loads


def test_without_registry_and_copy_there_is_no_model(registry: FolderRegistry) -> None:
    registry.away = AWAY
    predictors, cache = started(registry)
    assert cache.origin(SPEC) is None
    with pytest.raises(NotReadyError, match="registry cannot be read"):
        predictors.get(SPEC, "champion")


def test_the_copy_follows_the_registry_and_a_registry_that_returns_is_followed(registry: FolderRegistry) -> None:
    predictors, _ = started(registry)
    registry.aliases = {"champion": 2}
    assert predictors.refresh()
    registry.away = AWAY
    predictors, cache = started(registry)
    assert said(predictors) == "two"
    registry.add(3, "three")
    registry.aliases = {"champion": 3}
    registry.away = None
    assert predictors.refresh()
    assert said(predictors) == "three"
    origin = cache.origin(SPEC)
    assert origin is not None
    assert origin.source == "registry"


@pytest.mark.parametrize("step", ["TemporaryDirectory", "shutil.copytree"])
def test_what_could_not_be_copied_is_served_all_the_same(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"serving.model_cache.{step}", full)
    predictors, _ = started(registry)
    assert said(predictors) == "one"
    registry.away = AWAY
    predictors, _ = started(registry)
    with pytest.raises(NotReadyError):
        predictors.get(SPEC, "champion")


def test_a_champion_that_cannot_be_fetched_leaves_the_former_one_in_force(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors, _ = started(registry)
    registry.add(3, "three")
    registry.aliases = {"champion": 3, "challenger": 2}
    fetch = registry.folder_of

    def unreachable(info: FakeVersion) -> Path:
        if info.number == 3:
            raise AWAY
        return fetch(info)

    with monkeypatch.context() as patched:
        patched.setattr(registry, "folder_of", unreachable)
        assert not predictors.refresh()
        assert not predictors.refresh()
        assert said(predictors) == "one"
        restarted, _ = started(registry)
        assert said(restarted) == "one"
        for number in range(4, 5 + MOST_UNNAMED):
            registry.add(number, str(number))
            predictors.get(SPEC, f"1.{number}")
        registry.away = AWAY
        restarted, _ = started(registry)
        assert (said(restarted), said(restarted, "challenger")) == ("one", "two")
    registry.away = None
    assert predictors.refresh()
    assert said(predictors) == "three"


def test_old_versions_are_dropped(registry: FolderRegistry, home: Path) -> None:
    predictors, _ = started(registry)
    for number in range(3, 12):
        registry.add(number, str(number))
        registry.aliases = {"champion": number}
        predictors.refresh()
    kept = {folder.name for folder in (home / "models" / "reading").iterdir() if folder.is_dir()}
    assert kept == {"11", *(str(number) for number in range(11 - MOST_UNNAMED, 11))}
