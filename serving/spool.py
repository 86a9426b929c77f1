"""Rows of the prediction log on disk until the database has them: bounded, and no row is there by half."""

import fcntl
import json
import os
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from crewflow_assets import clock
from crewflow_assets.store.json_rows import moment

MOST_BYTES = 256 * 1024 * 1024
SUFFIX, LIVE = ".jsonl", ".live"
EMPTY_FOR_SECONDS = 60.0
"""For how long a batch without a whole line may belong to a process that has yet to lock it."""

_numbers = count()


class SpoolFullError(OSError):
    """What waits on disk takes all the room that it may take."""


class Spool:
    """A folder of batches of rows, each a file of JSON lines, oldest first.

    The workers of one machine share it: whoever finds the database back writes what all have left there. Two that
    write the same batch do no harm, since a row's id is its primary key.

    Args:
        folder: Where the files are; made at the first batch.
        most_bytes: The size beyond which rows are refused.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._bytes = 0

    def begin(self) -> "LivePart":
        """Begin a batch.

        Raises:
            OSError: the disk cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # the order of names is the order of time within a worker, and nearly so between them
        return LivePart(self.folder / f"{clock.now():%Y%m%dT%H%M%S%f}-{os.getpid()}-{next(_numbers)}{LIVE}")

    def append(self, part: "LivePart", content: bytes) -> None:
        """Append whole lines to a batch; once it returns they outlive the process, though not a power cut.

        Raises:
            SpoolFullError: there is no room for them.
            OSError: the disk cannot be written; the whole lines before are safe.
        """
        if self._bytes + len(content) > self._most_bytes:
            raise SpoolFullError(f"{self.folder} holds {self._bytes:,} of at most {self._most_bytes:,} bytes")
        part.append(content)
        self._bytes += len(content)

    def parts(self) -> list[Path]:
        """Return the files of the batches that wait, oldest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def look(self) -> list[Path]:
        """Let what processes that died were appending to wait too, see how much room is left, and return ``parts``.

        Raises:
            OSError: the disk cannot be read or written.
        """
        live = list(self.folder.glob(f"*{LIVE}"))
        for path in live:
            with suppress(FileNotFoundError):  # its owner, or another worker, was faster
                _adopt(path)
        parts = self.parts()
        self._bytes = sum(_size(path) for path in (*parts, *live))
        return parts


class LivePart:
    """A batch that this process appends to; locked while the process lives, however it ends.

    Raises:
        OSError: the disk cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        self._torn = False
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def append(self, content: bytes) -> None:
        """Write whole lines with one call, all or none.

        Raises:
            OSError: the disk cannot be written, or what it took by half before cannot be taken back.
        """
        self._take_back()
        try:
            if os.write(self._file, content) != len(content):
                raise OSError(f"{self.path} took only some of {len(content)} bytes; the disk is full")
        except OSError:
            self._torn = True
            self._take_back()
            raise
        self._size += len(content)

    def _take_back(self) -> None:
        """Cut off what a failed write may have left; until that succeeds, no line may follow it."""
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False

    def leave(self) -> None:
        """End the batch and let it wait for the database, safe from a power cut too; an empty one is removed.

        Raises:
            OSError: the disk cannot be written; ``Spool.look`` finds the batch, as that of a process that died.
        """
        if not self._size:
            return self.drop()
        try:
            self._take_back()
            os.fsync(self._file)  # otherwise a power cut can leave the name without the content
            self.path.rename(self.path.with_suffix(SUFFIX))
        finally:
            os.close(self._file)

    def drop(self) -> None:
        """End the batch and remove it: its rows are in the database.

        Raises:
            OSError: the disk cannot be written.
        """
        try:
            self.path.unlink()
        finally:
            os.close(self._file)


def read_part(part: Path) -> list[dict[str, Any]]:
    """Return a batch's rows; none where another worker has written and removed it meanwhile.

    Raises:
        ValueError, KeyError, TypeError: it does not hold rows.
        OSError: the disk cannot be read.
    """
    try:
        lines = part.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines if line]
    return [{**row, "created_at": moment(datetime.fromisoformat(row["created_at"]))} for row in rows]


def put_aside(part: Path) -> None:
    """Rename a batch that cannot be read, for a person to look at; it is not read again.

    Raises:
        OSError: the disk cannot be written.
    """
    with suppress(FileNotFoundError):  # another worker was faster
        part.rename(part.with_suffix(".bad"))


def _adopt(live: Path) -> None:
    """Let a batch wait whose process died, or remove it where it holds no whole line.

    A line that was not finished belongs to no answer and is cut off.

    Raises:
        FileNotFoundError: its process, or another worker, has ended it meanwhile.
    """
    with live.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        whole = file.read().rfind(b"\n") + 1
        if whole:
            file.truncate(whole)
            os.fsync(file.fileno())
            live.rename(live.with_suffix(SUFFIX))
        elif clock.now().timestamp() - os.fstat(file.fileno()).st_mtime > EMPTY_FOR_SECONDS:
            live.unlink()


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
