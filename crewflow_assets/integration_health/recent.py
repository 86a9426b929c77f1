"""The 30 days until the last whole one, of all integrations, in memory: read anew when the lake changes."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from time import monotonic

from crewflow_assets.arrays import Floats
from crewflow_assets.integration_health.days import ATTEMPTS, DECISIONS, Days, Key, read_days
from crewflow_assets.integration_health.score import WINDOW_DAYS
from crewflow_assets.lake.events import DAYS, folder_of, written
from crewflow_assets.settings import get_settings

Signature = tuple[tuple[str, int, int], ...]
LOOK_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """The days, and where each integration stands in them."""

    days: Days
    places: dict[Key, int]

    def window(self, key: Key) -> Floats | None:
        """Return an integration's 30 days, shape (30, len(MEASURES)); None where it did not sync in them."""
        place = self.places.get(key)
        return None if place is None else self.days.values[place]


def recent(at: datetime) -> Recent | None:
    """Return the 30 days until the last whole day before ``at`` that the lake has sync attempts of; None without any.

    A day is whole once the lake has taken it up after its end, some minutes after midnight. The lake is looked at
    every second.
    """
    return _looked(get_settings().root, at.astimezone(UTC).date(), monotonic() // LOOK_EVERY_SECONDS)


@lru_cache(maxsize=2)
def _looked(_root: Path, today: date, _second: float) -> Recent | None:
    files = {kind: _files(kind, today) for kind in (ATTEMPTS, DECISIONS)}
    newest_first = sorted(files[ATTEMPTS], reverse=True)
    last = next((day for day in newest_first if all(written(kind, day).is_whole(day) for kind in files)), None)
    if last is None:
        return None
    first = last - timedelta(days=WINDOW_DAYS - 1)
    looked_at = [file for day, file in files[ATTEMPTS].items() if day >= first] + list(files[DECISIONS].values())
    return _read(
        first, last, tuple((str(file), s.st_mtime_ns, s.st_size) for file in looked_at for s in [file.stat()])
    )


def _files(kind: str, before: date) -> dict[date, Path]:
    found = {date.fromisoformat(file.parent.name.removeprefix("day=")): file for file in folder_of(kind).glob(DAYS)}
    return {day: file for day, file in found.items() if day < before}


@lru_cache(maxsize=2)
def _read(first: date, last: date, _signature: Signature) -> Recent:
    days = read_days(first, last)
    return Recent(days, {key: place for place, key in enumerate(days.keys)})
