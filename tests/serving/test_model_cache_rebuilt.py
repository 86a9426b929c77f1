"""A registry that is rebuilt or empty: versions are others whatever their numbers, and the copy serves meanwhile."""

from pathlib import Path
from shutil import rmtree

import pytest

from crewflow_assets.errors import NotFoundError, NotReadyError
from crewflow_assets.spec import Predictor
from tests.serving.folder_registry import AWAY, SPEC, FolderRegistry, ReadingCode, filled, said, started


@pytest.fixture
def registry(home: Path) -> FolderRegistry:
    return filled(home)


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


def test_a_rebuilt_registry_is_taken_up_once_though_its_challenger_cannot_be_loaded(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors, cache = started(registry)
    anew = FolderRegistry(registry.root.with_name("anew"), {"champion": 1, "challenger": 2}, run_id="r-2")
    for number in (1, 2, 3):
        anew.add(number, f"{number}, trained anew")
    (anew.root / "2" / "said.json").write_text("{")
    monkeypatch.setattr(cache, "_registry", anew)
    monkeypatch.setattr("serving.predictors.RUNS_SECONDS", 0.0)
    assert predictors.refresh()
    assert (said(predictors), said(predictors, "1.3")) == ("1, trained anew", "3, trained anew")
    with pytest.raises(NotReadyError, match="the challenger cannot be loaded"):
        said(predictors, "challenger")
    loads = count_loads(monkeypatch)
    assert not predictors.refresh()
    assert (said(predictors), said(predictors, "1.3")) == ("1, trained anew", "3, trained anew")
    assert [folder.parent.name for folder in loads] == ["2"], "the challenger alone is tried again"
    (anew.root / "2" / "said.json").write_text('"mended"')
    rmtree(registry.root.parent / "models" / "reading" / "2")
    assert predictors.refresh()
    assert said(predictors, "challenger") == "mended"


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
