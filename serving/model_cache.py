"""What the registry gave last, kept on disk: a server starts and serves without it."""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from crewflow_assets import clock
from crewflow_assets.errors import NotReadyError, RegistryAwayError
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec, Predictor
from serving.copies import ABOUT, DAMAGED, DIGESTS, FILES, about_copy, is_whole, sync, tell, write_copy
from serving.predictors import LoadedModel, Origin, VersionInfo

logger = logging.getLogger("crewflow.serving")

INDEX = "aliases.json"
WRITTEN_EVERY = timedelta(minutes=1)
ALIASES, COPY = "aliases", "copy"
MOST_UNNAMED = 4
"""Versions kept that no alias names: those that were pinned, or were champion before."""


class Registry(Protocol):
    """What the cache needs of ``crewflow_assets.registry``."""

    def find(self, spec: ModelSpec, version: str) -> Any:
        """Return the version of an alias or label."""

    def folder_of(self, info: Any) -> Path:
        """Return the local folder of a version's files."""

    def alias_numbers(self, spec: ModelSpec) -> dict[str, int]:
        """Return which version each alias points at."""

    def run_of(self, spec: ModelSpec, number: int) -> str:
        """Return the run that made a version, or raise NotFoundError."""

    def describe(self, spec: ModelSpec) -> Sequence[VersionInfo]:
        """Return all registered versions, newest first."""


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A version, loaded from the disk's copy."""

    predictor: Predictor
    label: str
    number: int
    run_id: str
    aliases: tuple[str, ...]


class ModelCache:
    """The registry with a copy of what it gave under ``models`` of the home folder, for when it is away.

    Away is: it, or its files, cannot be reached, its library is not installed, or it names no champion while the copy
    does (a registry's database that was lost, or never was on this machine, is created empty, and one that is rebuilt
    has candidates first). Each outage's beginning and end are logged once, as a line of JSON.

    A copy whose files are not what was written is never loaded: it is put aside, and fetched anew. What was put aside
    stays for whoever looks into it until the version is dropped.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._outages: set[tuple[str, str]] = set()
        self._origins: dict[str, Origin] = {}

    def alias_numbers(self, spec: ModelSpec) -> dict[str, int]:
        """Return which version each alias points at, or did when the registry was last reached."""
        held = index_in(_folder(spec))
        try:
            numbers = self._registry.alias_numbers(spec)
            if not _replaces(numbers, held):
                raise NotReadyError(f"the registry names no champion of {spec.name}")
        except NotReadyError as error:
            if isinstance(error, RegistryAwayError) or held is not None:
                self._went_away(spec, ALIASES, error, held)
            if held is None:
                raise
            self._origins[spec.name] = Origin("cache", held.read_at)
            return dict(held.numbers)
        self._came_back(spec, ALIASES)
        now = clock.now()
        self._origins[spec.name] = Origin("registry", now)
        if held is not None and (held.numbers != numbers or now - held.read_at > WRITTEN_EVERY):
            try:
                _write_index(spec, numbers)
            except OSError as error:  # a full disk; what the registry says is in force all the same
                self._went_away(spec, COPY, error, held)
            else:
                self._came_back(spec, COPY)
        return numbers

    def load(self, spec: ModelSpec, version: str) -> LoadedModel:
        """Load a version by alias or label: from the registry, which is copied, or else from the copy.

        While the aliases are the copy's, it goes first: labels of a registry that is being rebuilt mean others.

        Raises:
            NotReadyError: the model has no version at all, or none can be had, neither there nor here; the text
                says so where a damaged copy was put aside.
            NotFoundError: the model has other versions.
        """
        aliases_away = (spec.name, ALIASES) in self._outages
        if aliases_away and (found := _cached(spec, version)) is not None:
            return found
        try:
            info = self._registry.find(spec, version)
            folder = self._keep(spec, info)
        except (NotReadyError, OSError) as error:
            found = _cached(spec, version)
            if found is None:
                aside = next(_copies(_folder(spec) / DAMAGED, version, _numbers(spec)), None)
                if aside is not None:
                    told = f"a damaged copy was put aside in models/{spec.name}/{DAMAGED}/{aside[0].name}"
                    raise RegistryAwayError(f"{error}; {told}") from error
                raise
            if not aliases_away:  # then the outage is told already
                self._went_away(spec, version, error, index_in(_folder(spec)))
            return found
        self._came_back(spec, version)
        return CachedModel(spec.code().load(folder), info.label, info.number, info.run_id, tuple(info.aliases))

    def run_of(self, spec: ModelSpec, number: int) -> str | None:
        """Return the run that made a version of the registry; None while the copy is in force.

        Raises:
            NotFoundError: there is no such version.
        """
        if (spec.name, ALIASES) in self._outages:
            return None
        try:
            return self._registry.run_of(spec, number)
        except NotReadyError:  # told of by `alias_numbers`
            return None

    def describe(self, spec: ModelSpec) -> Sequence[VersionInfo]:
        """Return all versions of the registry, newest first.

        Raises:
            RegistryAwayError: the registry cannot be read.
        """
        return self._registry.describe(spec)

    def origin(self, spec: ModelSpec) -> Origin | None:
        """Return where the aliases come from at present; None before they were first read."""
        return self._origins.get(spec.name)

    def _went_away(self, spec: ModelSpec, wanted: str, error: Exception, held: "Index | None") -> None:
        if (spec.name, wanted) in self._outages:
            return
        self._outages.add((spec.name, wanted))
        serving = None if held is None else held.read_at.isoformat()
        told = repr(error.__cause__ or error)
        tell(logging.WARNING, "registry_away", spec.name, wanted, error=told, copy_of=serving)

    def _came_back(self, spec: ModelSpec, wanted: str) -> None:
        if (spec.name, wanted) in self._outages:
            self._outages.discard((spec.name, wanted))
            tell(logging.INFO, "registry_back", spec.name, wanted)

    def _keep(self, spec: ModelSpec, info: Any) -> Path:
        """Copy a version's files, unless they are there and whole, and return their folder.

        A version of that number that another run made, in a registry before this one, makes room, as soon as this
        registry names a champion.
        """
        numbers = self._registry.alias_numbers(spec)
        if not _replaces(numbers, index_in(_folder(spec))):
            return self._registry.folder_of(info)
        target = _folder(spec) / str(info.number)
        if target.is_dir() and about_copy(target).get("run_id") != info.run_id:
            self._registry.folder_of(info)  # before the former copy goes, this one is to be had
            shutil.rmtree(target)
        if target.is_dir() and not is_whole(target) and target.is_dir():  # it could not be put aside
            return self._registry.folder_of(info)
        if DIGESTS not in about_copy(target):
            source = self._registry.folder_of(info)
            about = {"label": info.label, "number": info.number, "run_id": info.run_id}
            try:
                write_copy(source, target, about)
            except OSError as error:
                if not target.is_dir():  # otherwise another worker was faster
                    logger.warning("%s %s cannot be kept on disk", spec.name, info.label, exc_info=error)
                    return source
        _drop_old(spec, _write_index(spec, numbers))
        return target / FILES


@dataclass(frozen=True, slots=True)
class Index:
    """Which version each alias of a model pointed at when a registry was last read."""

    numbers: Mapping[str, int]
    read_at: datetime


def _folder(spec: ModelSpec) -> Path:
    return get_settings().root / "models" / spec.name


def index_in(folder: Path) -> Index | None:
    """Return what a model's folder says of its aliases; None where it says nothing, or a power cut left it torn."""
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Index(content["numbers"], datetime.fromisoformat(content["read_at"]))
    except (ValueError, KeyError, TypeError) as error:  # the registry's aliases, or those packed, make it anew
        logger.warning("%s cannot be read and counts as none", path, exc_info=error)
        return None


def _replaces(numbers: Mapping[str, int], held: Index | None) -> bool:
    """Say whether a registry's aliases are to be followed: they name a champion, or the copy names none either."""
    return "champion" in numbers or held is None or "champion" not in held.numbers


def _write_index(spec: ModelSpec, numbers: Mapping[str, int]) -> Mapping[str, int]:
    """Keep and return the aliases whose versions are here.

    An alias whose new version is not here, or not yet, keeps the one it had.
    """
    path = _folder(spec) / INDEX
    held = index_in(_folder(spec))
    former = {} if held is None else held.numbers
    here: dict[str, int] = {}
    for alias, number in numbers.items():
        wanted = (number, former.get(alias))
        found = next((one for one in wanted if one is not None and (path.parent / str(one)).is_dir()), None)
        if found is not None:
            here[alias] = found
    if not here:
        return here
    passing = path.with_name(f"{INDEX}.{os.getpid()}")
    passing.write_text(json.dumps({"numbers": here, "read_at": clock.now().isoformat()}))
    sync(passing)
    passing.replace(path)
    return here


def _numbers(spec: ModelSpec) -> Mapping[str, int]:
    held = index_in(_folder(spec))
    return {} if held is None else held.numbers


def _cached(spec: ModelSpec, version: str) -> CachedModel | None:
    """Return a version of the copy by alias or label, or None where it is not there, or is damaged."""
    numbers = _numbers(spec)
    for folder, about in _copies(_folder(spec), version, numbers):
        if is_whole(folder):
            predictor = spec.code().load(folder / FILES)
            named = tuple(alias for alias, number in numbers.items() if number == about["number"])
            return CachedModel(predictor, about["label"], about["number"], about["run_id"], named)
    return None


def _copies(folder: Path, version: str, numbers: Mapping[str, int]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the copies in a folder, with what they say of themselves, that are a version, by alias or label."""
    for described in sorted(folder.glob(f"*/{ABOUT}"), reverse=True):
        copy = described.parent
        about = about_copy(copy) if copy.name.isdecimal() else {}
        if about and (version == about["label"] or numbers.get(version) == about["number"]):
            yield copy, about


def _drop_old(spec: ModelSpec, numbers: Mapping[str, int]) -> None:
    kept = [int(folder.name) for folder in _folder(spec).iterdir() if folder.name.isdecimal()]
    unnamed = sorted(set(kept) - set(numbers.values()), reverse=True)
    for number in unnamed[MOST_UNNAMED:]:  # with what was put aside of it
        for kept_in in (_folder(spec), _folder(spec) / DAMAGED):
            shutil.rmtree(kept_in / str(number), ignore_errors=True)
