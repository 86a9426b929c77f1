"""What the API's customers saw in the last two hours: one pure function for training and serving."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints, Objects

Names = Objects

MINUTE = 60_000_000
"""Microseconds."""
WINDOWS = (15, 60)
"""Minutes, in which the syncs of other customers are counted."""
LOOK_BACK = 120
"""Minutes; nothing here looks further back."""
SURROUNDINGS = (
    *(f"{name}_{window}m" for window in WINDOWS for name in ("others_n", "others_failed_share")),
    "trouble_minutes",
    "headroom",
)


@dataclass(frozen=True, eq=False)
class Seen:
    """Sync attempts, one element each, in any order; NaN where the API did not say how many calls are left.

    What is put in order to answer one question is kept for the next.
    """

    system: Names
    company: Names
    integration: Names
    micros: Floats
    ok: Bools
    calls_left: Floats
    calls_limit: Floats

    @cached_property
    def _by_system(self) -> "dict[str, tuple[_Counts, dict[str, _Counts]]]":
        """Return the attempts with each API, all and by company."""
        found = {}
        for system, places in _groups(self.system).items():
            by_company = _groups(self.company[places])
            found[system] = (
                _Counts.of(self, places),
                {company: _Counts.of(self, places[some]) for company, some in by_company.items()},
            )
        return found

    @cached_property
    def by_integration(self) -> dict[str, Ints]:
        """The places of each integration's attempts by time; keys are company and id, joined by U+001F."""
        return {
            f"{company}\x1f{integration}": places[some][np.argsort(self.micros[places[some]], kind="stable")]
            for company, places in _groups(self.company).items()
            for integration, some in _groups(self.integration[places]).items()
        }

    def counts(self, system: str, company: str) -> "tuple[_Counts, _Counts]":
        """Return the attempts with an API: all of them, and the company's."""
        everyone, by_company = self._by_system.get(system, (NO_COUNTS, {}))
        return everyone, by_company.get(company, NO_COUNTS)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Moments to describe, one element each; company and integration are empty texts where they are not known."""

    system: Names
    company: Names
    integration: Names
    micros: Floats


def surroundings(asked: Asked, seen: Seen) -> dict[str, Floats]:
    """Describe moments by the sync attempts before them.

    Returns:
        ``SURROUNDINGS``: of the other customers of the API, in the last 15 and 60 minutes, how many attempts there
        were and which share failed (NaN without any); minutes since the integration's own last success, at most
        ``LOOK_BACK`` (NaN for no integration, or one that was not seen); the share of its calls that is left.
    """
    found = {name: np.full(len(asked.micros), np.nan) for name in SURROUNDINGS}
    for system, places in _groups(asked.system).items():
        for company, some in _groups(asked.company[places]).items():
            rows = places[some]
            api, own = seen.counts(system, company)
            for window in WINDOWS:
                theirs, ours = api(asked.micros[rows], window), own(asked.micros[rows], window)
                n, failed = theirs[0] - ours[0], theirs[1] - ours[1]
                found[f"others_n_{window}m"][rows] = n
                found[f"others_failed_share_{window}m"][rows] = np.divide(
                    failed, n, out=np.full(len(rows), np.nan), where=n > 0
                )
    _own(asked, seen, found)
    return found


def _groups(names: Names) -> dict[str, Ints]:
    """Return the places of each name, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names.tolist()):
        found[name].append(place)
    return {name: np.array(places, np.int64) for name, places in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Attempts in order of time, with how many there were and failed up to each."""

    micros: Floats
    failed: Ints

    @classmethod
    def of(cls, seen: Seen, places: Ints) -> "_Counts":
        order = places[np.argsort(seen.micros[places], kind="stable")]
        return cls(seen.micros[order], np.r_[0, np.cumsum(~seen.ok[order])])

    def __call__(self, micros: Floats, window: float) -> tuple[Floats, Floats]:
        """Return how many came, and failed, in the window before each moment."""
        until = np.searchsorted(self.micros, micros, side="left")
        since = np.searchsorted(self.micros, micros - window * MINUTE, side="left")
        return (until - since).astype(float), (self.failed[until] - self.failed[since]).astype(float)


NO_COUNTS = _Counts(np.zeros(0), np.zeros(1, np.int64))


def _own(asked: Asked, seen: Seen, found: Mapping[str, Floats]) -> None:
    """Fill in what is known of the integration itself."""
    known = asked.integration != ""
    keys = asked.company + "\x1f" + asked.integration
    for key, rows in _groups(np.where(known, keys, "").astype(object)).items():
        order = seen.by_integration.get(key)
        if order is None:
            continue
        micros = asked.micros[rows]
        fine = seen.micros[order][seen.ok[order]]
        last_fine = np.searchsorted(fine, micros, side="left") - 1
        since = np.full(len(rows), float(LOOK_BACK))
        since[last_fine >= 0] = ((micros - fine[np.maximum(last_fine, 0)]) / MINUTE if len(fine) else since)[
            last_fine >= 0
        ]
        last = np.searchsorted(seen.micros[order], micros, side="left") - 1
        recently = (last >= 0) & (micros - seen.micros[order][np.maximum(last, 0)] <= LOOK_BACK * MINUTE)
        at = order[np.maximum(last, 0)]
        with np.errstate(divide="ignore", invalid="ignore"):
            left = seen.calls_left[at] / seen.calls_limit[at]
        found["trouble_minutes"][rows] = np.where(recently, np.minimum(since, LOOK_BACK), np.nan)
        found["headroom"][rows] = np.where(recently, left, np.nan)
