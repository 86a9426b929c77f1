"""What the registry gave last is served from disk when it is away."""

import json
from pathlib import Path

import pytest

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError, RegistryAwayError
from serving.model_cache import MOST_UNNAMED
from tests.serving.fakes import FakeVersion
from tests.serving.folder_registry import AWAY, SPEC, FolderRegistry, filled, said, started


@pytest.fixture
def registry(home: Path) -> FolderRegistry:
    return filled(home)


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

    monkeypatch.setattr(f"serving.copies.{step}", full)
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
