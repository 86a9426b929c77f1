"""The loaded models: champion, challenger and arms always, pinned versions when asked for, swapped while serving."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from crewflow_assets.errors import CrewflowError, NotFoundError, NotReadyError
from crewflow_assets.spec import ModelSpec, Predictor

logger = logging.getLogger("crewflow.serving")

ALIASES = ("champion", "challenger")
MOST_PINNED = 4
UNKNOWN_SECONDS = 5.0
"""A version that was not found is asked for again after this."""
MOST_UNKNOWN = 1000
RUNS_SECONDS = 60.0
"""The registry is asked so often whether its versions are still those in memory: one that was rebuilt counts anew."""


class LoadedModel(Protocol):
    """A predictor with the version it was registered as."""

    @property
    def predictor(self) -> Predictor:
        """The fitted model."""

    @property
    def label(self) -> str:
        """The version label, such as ``1.3``."""

    @property
    def number(self) -> int:
        """The registry's own number of the version."""

    @property
    def run_id(self) -> str:
        """The run that made the version: tells it from one of the same number in a rebuilt registry."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases that point at the version."""


class VersionInfo(Protocol):
    """What the registry knows of a version."""

    @property
    def label(self) -> str:
        """The version label."""

    @property
    def number(self) -> int:
        """The registry's own number."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases that point at it."""

    @property
    def created_at(self) -> datetime:
        """When it was registered."""

    @property
    def figures(self) -> dict[str, str]:
        """Its headline figures, rendered."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the aliases were read, and when: for the disk's copy, when the registry was last reached."""

    source: Literal["registry", "cache"]
    read_at: datetime


class Source(Protocol):
    """Where models come from: ``serving.model_cache.ModelCache``."""

    def load(self, spec: ModelSpec, version: str) -> LoadedModel:
        """Load a version by alias or label."""

    def alias_numbers(self, spec: ModelSpec) -> dict[str, int]:
        """Return which version each alias points at."""

    def run_of(self, spec: ModelSpec, number: int) -> str | None:
        """Return the run that made a version; None where that cannot be said at present.

        Raises:
            NotFoundError: there is no such version.
        """

    def describe(self, spec: ModelSpec) -> Sequence[VersionInfo]:
        """Return all registered versions, newest first."""

    def origin(self, spec: ModelSpec) -> Origin | None:
        """Return where the aliases come from at present; None before they were first read."""


class Predictors:
    """Predictors by model and version; reading is safe from any thread while ``refresh`` swaps them."""

    def __init__(self, specs: Iterable[ModelSpec], source: Source) -> None:
        self.specs = tuple(specs)
        self.source = source
        self._aliased: dict[tuple[str, str], LoadedModel] = {}
        self._problems: dict[str, str] = {}
        self._held: dict[tuple[str, str], LoadedModel] = {}
        self._pinned: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._unknown: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._runs_agreed: dict[str, float] = {}
        self._pinning = threading.Lock()
        self._refreshing = threading.Lock()

    def get(self, spec: ModelSpec, version: str) -> LoadedModel:
        """Return the model of that version; a pinned one is loaded at its first use.

        Raises:
            NotFoundError: the model has no such version.
            NotReadyError: the model has no version at all, or that of the alias cannot be loaded; the text says what
                to do, or what is wrong.
        """
        found = self._aliased.get((spec.name, version)) or self._held.get((spec.name, version))
        if found is not None:
            return found
        if version in ALIASES and (problem := self._problems.get(spec.name)) is not None:
            raise NotReadyError(problem)
        if version == "champion":
            raise NotReadyError(f"{spec.name} is still being loaded; try again")
        if version in ALIASES:
            raise NotFoundError(f"{spec.name} has no {version} at present; GET /v1/models shows what there is")
        return self._pin(spec, version)

    def loaded(self, spec: ModelSpec) -> dict[str, LoadedModel]:
        """Return what is in memory, by the version it is asked for with."""
        aliased = {alias: self._aliased.get((spec.name, alias)) for alias in ALIASES}
        by_label = [*self._pinned.items(), *self._held.items()]
        pinned = {label: model for (name, label), model in by_label if name == spec.name}
        return {alias: model for alias, model in aliased.items() if model is not None} | pinned

    def problem(self, spec: ModelSpec) -> str | None:
        """Return why the model has no champion in memory, or why its newest state could not be read."""
        return self._problems.get(spec.name)

    def hold(self, spec: ModelSpec, labels: Collection[str]) -> None:
        """Load these versions of a model and keep them until others are held; those held before may go.

        Raises:
            CrewflowError: no such version, or no model; whatever else the registry's backend throws.
        """
        in_memory = {key: m for key, m in self._aliased.items() if key[0] == spec.name} | self._held
        by_label = {model.label: model for (name, _), model in in_memory.items() if name == spec.name}
        fresh = {(spec.name, label): by_label.get(label) or self.source.load(spec, label) for label in labels}
        self._held = {key: model for key, model in self._held.items() if key[0] != spec.name} | fresh

    def refresh(self) -> bool:
        """Load what the aliases now point at, and answer whether anything changed; never raises.

        A model that cannot be read anew goes on serving what it has.
        """
        with self._refreshing:
            changed = [self._refresh_one(spec) for spec in self.specs]
        return any(changed)

    def _refresh_one(self, spec: ModelSpec) -> bool:
        try:
            numbers = self.source.alias_numbers(spec)
            rebuilt = self._is_rebuilt(spec)
            fresh: dict[str, LoadedModel] = {}
            problem: str | None = None
            for alias in ALIASES:
                held = self._aliased.get((spec.name, alias))
                if alias not in numbers:
                    continue
                if held is not None and held.number == numbers[alias] and not rebuilt:
                    fresh[alias] = held
                    continue
                try:
                    found = self.source.load(spec, alias)  # the former version where the new one cannot be fetched
                except Exception as error:  # noqa: BLE001  # as below
                    told = self._told(spec, error, f"the files of the {alias} cannot be read")
                    if alias == "champion":
                        return self._failed(spec, told)
                    problem = f"the {alias} cannot be loaded: {told}"
                    if held is not None and not (rebuilt and self._is_another(spec, held)):
                        fresh[alias] = held
                else:
                    fresh[alias] = held if held is not None and _same(held, found) else found
            if "champion" not in fresh:
                self.source.load(spec, "champion")  # raises the text that says how to register one
        except Exception as error:  # noqa: BLE001  # whatever the registry's backend throws, serving goes on
            return self._failed(spec, self._told(spec, error, "the model registry cannot be read"))
        before = {alias: self._aliased.get((spec.name, alias)) for alias in ALIASES}
        kept = {key: model for key, model in self._aliased.items() if key[0] != spec.name}
        self._aliased = kept | {(spec.name, alias): model for alias, model in fresh.items()}
        if rebuilt:
            self._forget_labels(spec)
        self._problems = {name: text for name, text in self._problems.items() if name != spec.name}
        if problem is not None:
            self._failed(spec, problem)
        changed = any(before[alias] is not fresh.get(alias) for alias in ALIASES)
        if changed:
            with self._pinning:
                self._unknown.clear()
            labels = ", ".join(f"{alias} {model.label}" for alias, model in fresh.items())
            logger.info("%s now serves %s", spec.name, labels)
        return changed

    def _told(self, spec: ModelSpec, error: Exception, failed: str) -> str:
        """Return what is said of an error: its text, or what failed if nobody expected it; that is logged once."""
        if isinstance(error, CrewflowError):
            return str(error)
        if self._problems.get(spec.name) is None:
            logger.warning("%s: %s", spec.name, failed, exc_info=error)
        return f"{failed} ({type(error).__name__}); trying again"

    def _is_rebuilt(self, spec: ModelSpec) -> bool:
        """Say whether a version in memory has another run in the registry than here; asked once a minute."""
        now = time.monotonic()
        if now < self._runs_agreed.get(spec.name, 0.0) + RUNS_SECONDS:
            return False
        if any(self._is_another(spec, model) for model in self.loaded(spec).values()):
            return True
        self._runs_agreed[spec.name] = now
        return False

    def _is_another(self, spec: ModelSpec, model: LoadedModel) -> bool:
        """Say whether the registry has another version of that number than the one in memory, or none."""
        try:
            return self.source.run_of(spec, model.number) not in (None, model.run_id)
        except NotFoundError:  # fewer versions than before
            return True

    def _forget_labels(self, spec: ModelSpec) -> None:
        """Let go of versions by label; whoever asks for one gets the registry's present one."""
        with self._pinning:
            for key in [key for key in self._pinned if key[0] == spec.name]:
                del self._pinned[key]
            self._held = {key: model for key, model in self._held.items() if key[0] != spec.name}

    def _failed(self, spec: ModelSpec, text: str) -> bool:
        self._problems = {**self._problems, spec.name: text}
        return False

    def _pin(self, spec: ModelSpec, label: str) -> LoadedModel:
        key = (spec.name, label)
        if (found := self._pinned.get(key)) is not None:  # without waiting for another that is being loaded
            with suppress(KeyError):
                self._pinned.move_to_end(key)
            return found
        with self._pinning:
            found = self._pinned.get(key)
            if found is not None:
                self._pinned.move_to_end(key)
                return found
            known = next(
                (m for (name, _), m in self._aliased.items() if name == spec.name and m.label == label), None
            )
            if known is not None:
                return known
            until, text = self._unknown.get(key, (0.0, ""))
            if until > time.monotonic():
                raise NotFoundError(text)
            try:
                found = self.source.load(spec, label)
            except NotFoundError as error:
                self._unknown[key] = (time.monotonic() + UNKNOWN_SECONDS, str(error))
                if len(self._unknown) > MOST_UNKNOWN:
                    self._unknown.popitem(last=False)
                raise
            except CrewflowError:
                raise
            except Exception as error:
                logger.warning("%s %s could not be loaded", spec.name, label, exc_info=error)
                raise NotReadyError(f"{spec.name} {label} cannot be loaded at present; try again") from error
            self._pinned[key] = found
            if len(self._pinned) > MOST_PINNED:
                self._pinned.popitem(last=False)
            return found


def _same(one: LoadedModel, other: LoadedModel) -> bool:
    return (one.number, one.run_id) == (other.number, other.run_id)
