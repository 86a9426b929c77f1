"""Keys that the database confirmed lately, on disk, so that a gateway can start and serve while it is away."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

from crewflow_assets import clock
from crewflow_assets.store.keys import KeyScope

KEPT = timedelta(hours=24)
"""A key counts as known for this long after the database last confirmed it."""
WRITTEN_EVERY = timedelta(minutes=1)
"""A key whose scope did not change is written anew at most this often."""
MOST_KEPT = 10_000


class KnownKeys:
    """Hashes of tokens with what they open: never a token, nor anything that gives one away.

    Writing raises OSError where the disk refuses; reading then finds what is there.

    The workers of one machine share the file; each writes what it learned beside what the others wrote.

    Args:
        path: The file; readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._mine: dict[str, tuple[datetime, KeyScope]] = {}

    def confirm(self, digest: str, scope: KeyScope) -> None:
        """Remember a key that the database has just confirmed."""
        now = clock.now()
        with self._lock:
            held = self._mine.get(digest)
            if held is not None and held[1] == scope and now - held[0] < WRITTEN_EVERY:
                return
            self._mine.pop(digest, None)
            self._mine[digest] = (now, scope)
            if len(self._mine) > MOST_KEPT:
                del self._mine[next(iter(self._mine))]  # the one that was confirmed longest ago
            with self._alone():
                self._write(self._read() | {digest: (now, scope)})

    def forget(self, digest: str) -> None:
        """Drop a key that the database no longer knows, whichever worker had confirmed it.

        Where the disk is full, all are dropped: better none is known than one that was revoked.
        """
        with self._lock:
            self._mine.pop(digest, None)
            if digest not in self._read():  # most unknown tokens never were a key: they write nothing
                return
            try:
                with self._alone():
                    self._write({known: entry for known, entry in self._read().items() if known != digest})
            except OSError:
                self.path.unlink(missing_ok=True)

    def find(self, digest: str) -> KeyScope | None:
        """Return what a key opened when the database last confirmed it, within the last 24 hours."""
        with self._lock:
            held = self._read().get(digest)
        return None if held is None else held[1]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other workers from writing between our read and our write; reading needs no lock."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed
            yield

    def _read(self) -> dict[str, tuple[datetime, KeyScope]]:
        """Return what is in force; a file that cannot be read, is torn or of another version counts as empty."""
        oldest = clock.now() - KEPT
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            entries = {
                digest: (datetime.fromisoformat(one["confirmed_at"]), KeyScope(**one["scope"]))
                for digest, one in content.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {digest: entry for digest, entry in entries.items() if entry[0] > oldest}

    def _write(self, entries: Mapping[str, tuple[datetime, KeyScope]]) -> None:
        newest = sorted(entries.items(), key=lambda entry: entry[1][0], reverse=True)[:MOST_KEPT]
        content = {d: {"confirmed_at": at.isoformat(), "scope": asdict(scope)} for d, (at, scope) in newest}
        passing = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with os.fdopen(os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file)
        passing.replace(self.path)
