"""Rows of the prediction log that wait on disk for the database: bounded, in files that are whole or absent."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from crewflow_assets import clock

MOST_BYTES = 256 * 1024 * 1024
SUFFIX = ".jsonl"

_numbers = count()


class Spool:
    """A folder of batches of rows, each a file of JSON lines, oldest first.

    The workers of one machine share it: whoever finds the database back writes what all have left there. Two that
    write the same batch do no harm, since a row's id is its primary key.

    Args:
        folder: Where the files are; made at the first batch.
        most_bytes: The size beyond which batches are refused.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def put(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Keep a batch and answer whether there was room for it.

        Raises:
            OSError: the disk cannot be written.
        """
        content = b"".join(to_json(row) + b"\n" for row in rows)
        if sum(_size(part) for part in self.parts()) + len(content) > self._most_bytes:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        # the order of names is the order of time within a worker, and nearly so between them
        name = f"{clock.now():%Y%m%dT%H%M%S%f}-{os.getpid()}-{next(_numbers)}"
        passing = self.folder / f"{name}.part"
        with os.fdopen(os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut can leave the name without the content
        passing.rename(self.folder / f"{name}{SUFFIX}")
        return True

    def parts(self) -> list[Path]:
        """Return the files of the batches that wait, oldest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))


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
    return [{**row, "created_at": datetime.fromisoformat(row["created_at"])} for row in rows]


def put_aside(part: Path) -> None:
    """Rename a batch that cannot be read, for a person to look at; it is not read again.

    Raises:
        OSError: the disk cannot be written.
    """
    with suppress(FileNotFoundError):  # another worker was faster
        part.rename(part.with_suffix(".bad"))


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
