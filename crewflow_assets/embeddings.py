"""Embeddings kept on disk by text: a large chart is encoded once, not once a process.

One SQLite file beside an exported encoder; to free its space, delete it.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from crewflow_assets.arrays import Singles

logger = logging.getLogger("crewflow.embeddings")

KEYS_PER_QUERY = 500
BUSY_SECONDS = 30.0


class StoredEmbeddings:
    """Embeddings of one encoder. A file that cannot be used is reported, and embeddings are made anew."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, texts: Sequence[str]) -> dict[str, Singles]:
        """Return the embeddings that are there."""
        if not self._file.exists():
            return {}
        by_key = {_key(text): text for text in texts}
        keys = list(by_key)
        found: dict[str, Singles] = {}
        try:
            with self._connected() as connection:
                for start in range(0, len(keys), KEYS_PER_QUERY):
                    asked = keys[start : start + KEYS_PER_QUERY]
                    marks = ",".join("?" * len(asked))
                    rows = connection.execute(f"SELECT key, value FROM embeddings WHERE key IN ({marks})", asked)
                    found.update((by_key[key], np.frombuffer(value, np.float32)) for key, value in rows)
        except sqlite3.Error as error:
            logger.warning("embeddings cannot be read from %s", self._file, exc_info=error)
        return found

    def put(self, embeddings: Mapping[str, Singles]) -> None:
        """Keep embeddings; what is there already stays."""
        rows = [(_key(text), np.ascontiguousarray(one, np.float32).tobytes()) for text, one in embeddings.items()]
        try:
            with self._connected() as connection, connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, value BLOB NOT NULL)"
                )
                connection.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            logger.warning("embeddings cannot be kept in %s", self._file, exc_info=error)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]
