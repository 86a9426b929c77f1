"""Copies of models that a power cut tore, or a disk changed, are not served: they are put aside and fetched anew."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crewflow_assets.errors import NotFoundError, NotReadyError, RegistryAwayError
from serving.copies import damage_to
from serving.model_cache import MOST_UNNAMED
from tests.serving.folder_registry import AWAY, SPEC, FolderRegistry, filled, said, started


@pytest.fixture
def registry(home: Path) -> FolderRegistry:
    return filled(home)


def copy_of(home: Path, number: int) -> Path:
    return home / "models" / "reading" / str(number)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[1] ^= 1  # "one" is now "nne", which loads
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


DAMAGE = pytest.mark.parametrize("harm", [flip, cut, empty, Path.unlink])


@DAMAGE
def test_a_damaged_copy_is_put_aside_and_fetched_anew(
    registry: FolderRegistry, home: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    started(registry)
    harm(copy_of(home, 1) / "model" / "said.json")
    assert said(started(registry)[0]) == "one"
    told = [json.loads(record.message) for record in caplog.records if "copy_damaged" in record.message]
    assert [(line["model"], line["wanted"]) for line in told] == [("reading", "1")]
    assert "said.json" in told[0]["error"]
    assert (home / "models" / "reading" / "damaged" / "1" / "version.json").exists()
    registry.away = AWAY
    assert said(started(registry)[0]) == "one"


@DAMAGE
def test_with_the_registry_away_a_damaged_copy_is_not_served_and_the_reason_is_told(
    registry: FolderRegistry, home: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    started(registry)
    harm(copy_of(home, 1) / "model" / "said.json")
    registry.away = AWAY
    for _ in range(2):  # a restart later too
        predictors, _ = started(registry)
        with pytest.raises(NotReadyError, match="damaged copy was put aside in models/reading/damaged/1"):
            said(predictors)
        assert "registry cannot be read" in str(predictors.problem(SPEC))
        assert "put aside in models/reading/damaged" in str(predictors.problem(SPEC))
    assert "copy_damaged" in caplog.text
    with pytest.raises(RegistryAwayError):
        predictors.get(SPEC, "1.1")
    assert said(predictors, "1.2") == "two"
    registry.away = None
    assert predictors.refresh()
    assert (said(predictors), said(predictors, "challenger")) == ("one", "two")
    assert predictors.problem(SPEC) is None


def test_of_damaged_copies_each_is_told_of_where_it_is_missed(registry: FolderRegistry, home: Path) -> None:
    started(registry)
    for number in (1, 2):
        flip(copy_of(home, number) / "model" / "said.json")
    registry.away = AWAY
    predictors, cache = started(registry)
    for version, number in (("champion", 1), ("1.1", 1), ("challenger", 2), ("1.2", 2)):
        with pytest.raises(RegistryAwayError, match=f"put aside in models/reading/damaged/{number}$"):
            cache.load(SPEC, version)
    registry.away = None
    assert predictors.refresh()
    registry.away = AWAY
    with pytest.raises(RegistryAwayError) as missing:
        predictors.get(SPEC, "1.9")
    assert "damaged" not in str(missing.value), "that is another version's"


def test_what_was_put_aside_goes_with_its_version(registry: FolderRegistry, home: Path) -> None:
    started(registry)
    flip(copy_of(home, 1) / "model" / "said.json")
    predictors, _ = started(registry)
    aside = home / "models" / "reading" / "damaged" / "1"
    assert aside.is_dir()
    for number in range(3, 4 + MOST_UNNAMED):
        registry.add(number, str(number))
        registry.aliases = {"champion": number}
        predictors.refresh()
    assert not copy_of(home, 1).exists()
    assert not aside.exists()


@pytest.mark.parametrize("away", [None, AWAY], ids=["registry there", "registry away"])
def test_of_workers_that_find_the_same_damage_one_puts_it_aside(
    registry: FolderRegistry, home: Path, monkeypatch: pytest.MonkeyPatch, away: Exception | None
) -> None:
    started(registry)
    flip(copy_of(home, 1) / "model" / "said.json")
    registry.away = away
    faster: list[str] = []

    def found(folder: Path) -> str | None:
        wrong = damage_to(folder)
        if wrong is not None and not faster:
            faster.append(wrong)
            started(registry)  # another worker does everything meanwhile
        return wrong

    monkeypatch.setattr("serving.copies.damage_to", found)
    predictors, _ = started(registry)
    assert faster == ["said.json is not what was written"]
    aside = home / "models" / "reading" / "damaged" / "1" / "model" / "said.json"
    assert json.loads(aside.read_text()) == "nne", "what was damaged, and not what was fetched anew"
    if away is None:
        assert said(predictors) == "one"
        assert json.loads((copy_of(home, 1) / "model" / "said.json").read_text()) == "one"
    else:
        with pytest.raises(NotReadyError, match="put aside"):
            said(predictors)


def test_a_champion_is_served_though_the_challengers_copy_is_damaged(registry: FolderRegistry, home: Path) -> None:
    started(registry)
    flip(copy_of(home, 2) / "model" / "said.json")
    registry.away = AWAY
    predictors, _ = started(registry)
    assert said(predictors) == "one"
    assert "challenger" not in predictors.loaded(SPEC)
    assert "put aside" in str(predictors.problem(SPEC))
    with pytest.raises(NotReadyError, match=r"the challenger cannot be loaded: .* put aside"):
        said(predictors, "challenger")
    assert not predictors.refresh()
    registry.away = None
    assert predictors.refresh()
    assert said(predictors, "challenger") == "two"
    assert predictors.problem(SPEC) is None


def test_a_challenger_that_cannot_be_loaded_leaves_the_former_one_and_the_new_champion_in_force(
    registry: FolderRegistry,
) -> None:
    predictors, _ = started(registry)
    registry.add(3, "three")
    registry.add(4, "four")
    torn = registry.root / "4" / "said.json"  # in the registry itself
    torn.write_text("{")
    registry.aliases = {"champion": 3, "challenger": 4}
    assert predictors.refresh()
    assert (said(predictors), said(predictors, "challenger")) == ("three", "two")
    assert predictors.problem(SPEC) == (
        "the challenger cannot be loaded: the files of the challenger cannot be read (JSONDecodeError); trying again"
    )
    assert said(started(registry)[0]) == "three"
    registry.aliases = {"champion": 3}
    assert predictors.refresh()
    assert predictors.problem(SPEC) is None
    assert "challenger" not in predictors.loaded(SPEC)
    with pytest.raises(NotFoundError, match="has no challenger at present"):
        said(predictors, "challenger")
    registry.aliases = {"champion": 4}
    assert not predictors.refresh()
    assert predictors.problem(SPEC) == "the files of the champion cannot be read (JSONDecodeError); trying again"
    assert said(predictors) == "three"


def test_a_damaged_copy_that_cannot_be_put_aside_is_not_served_either(
    registry: FolderRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(registry)
    flip(copy_of(home, 1) / "model" / "said.json")

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", read_only)
    assert said(started(registry)[0]) == "one"
    registry.away = AWAY
    predictors, _ = started(registry)
    with pytest.raises(NotReadyError):
        said(predictors)


def test_a_running_server_keeps_what_it_has_in_memory(registry: FolderRegistry, home: Path) -> None:
    predictors, _ = started(registry)
    flip(copy_of(home, 1) / "model" / "said.json")
    registry.away = AWAY
    assert not predictors.refresh()
    assert said(predictors) == "one"


def test_a_copy_of_before_digests_were_kept_is_served_and_copied_anew(registry: FolderRegistry, home: Path) -> None:
    started(registry)
    about = copy_of(home, 1) / "version.json"
    described = json.loads(about.read_text())
    del described["files"]
    about.write_text(json.dumps(described))
    registry.away = AWAY
    assert said(started(registry)[0]) == "one"
    assert "files" not in json.loads(about.read_text())
    registry.away = None
    assert said(started(registry)[0]) == "one"
    assert set(json.loads(about.read_text())["files"]) == {"said.json"}
    assert {path.name for path in about.parent.iterdir()} == {"model", "version.json"}, "nothing of the former one"


def test_a_copy_that_lost_its_description_is_copied_anew(registry: FolderRegistry, home: Path) -> None:
    started(registry)
    (copy_of(home, 1) / "version.json").unlink()
    assert said(started(registry)[0]) == "one"
    registry.away = AWAY
    assert said(started(registry)[0]) == "one"


def test_a_copy_has_its_name_only_once_all_of_it_is_on_the_disk(
    registry: FolderRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    fsync = os.fsync

    def noted(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        assert not copy_of(home, 1).exists() or path.parent != copy_of(home, 1)
        synced.add(path.name)
        fsync(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", noted)
        started(registry)
    assert synced >= {"said.json", "model", "version.json", "reading"}
    registry.add(3, "three")
    registry.aliases = {"champion": 3}

    def refused(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refused)
    assert said(started(registry)[0]) == "three"
    assert not copy_of(home, 3).exists()
