"""Copies of a version's files, described so that what a power cut or a disk did to them since is noticed."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

logger = logging.getLogger("crewflow.serving")

FILES, ABOUT = "model", "version.json"
DIGESTS = "files"
"""Of a version's description: the SHA-256 of each file, by its path."""
DAMAGED = "damaged"
"""Beside copies: those that were put aside, by the names they had."""


def write_copy(source: Path, target: Path, about: Mapping[str, Any]) -> None:
    """Copy a folder under ``target`` with what is said about it; it has its name once all of it is on the disk.

    Raises:
        OSError: the disk refuses, or a copy with digests is there already.
    """
    with replacing(target) as new:
        files = new / FILES
        shutil.copytree(source, files)
        inside = sorted(files.rglob("*"))
        digests = {path.relative_to(files).as_posix(): _digest(path) for path in inside if path.is_file()}
        described = new / ABOUT
        described.write_text(json.dumps({**about, DIGESTS: digests}))
        for path in (*inside, files, described, new):
            sync(path)
        if DIGESTS in about_copy(target):
            raise FileExistsError(f"{target} is there already")
    sync(target.parent)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield where to make a folder, which gets its place, instead of what is there, once the body has ended.

    Raises:
        OSError: the disk refuses, or another process was faster.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".copying-", dir=target.parent, ignore_cleanup_errors=True) as passing:
        new = Path(passing) / "new"
        yield new
        if target.exists():
            target.rename(Path(passing) / "former")
        new.rename(target)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of files, is on the disk.

    Raises:
        OSError: the disk refuses.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def about_copy(folder: Path) -> dict[str, Any]:
    """Return what a version's copy says of itself: nothing where there is none, or a power cut left it torn."""
    try:
        described = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError):
        return {}
    return described if isinstance(described, dict) else {}


def is_whole(folder: Path) -> bool:
    """Say whether a version's copy is what was written, and put it aside and log that if not.

    Those without digests pass. Of several workers that find the damage at once, one puts the copy aside; if another
    is there by then, the others say whether that is whole.
    """
    wrong = damage_to(folder)
    if wrong is None:
        return True
    try:
        with (folder.parent / f".{DAMAGED}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed
            wrong = damage_to(folder)
            if wrong is None:
                return folder.is_dir()
            aside = folder.parent / DAMAGED / folder.name
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
    except OSError as error:
        logger.warning("%s cannot be put aside", folder, exc_info=error)
    tell(logging.ERROR, "copy_damaged", folder.parent.name, folder.name, error=wrong)
    return False


def damage_to(folder: Path) -> str | None:
    """Return what is wrong with the first file of a copy that is not what was written.

    None if all are; also for a copy of before digests were kept.
    """
    for name, digest in about_copy(folder).get(DIGESTS, {}).items():
        try:
            found = _digest(folder / FILES / name)
        except OSError as error:
            return f"{name} cannot be read ({type(error).__name__})"
        if found != digest:
            return f"{name} is not what was written"
    return None


def tell(level: int, event: str, model: str, wanted: str, **more: str | None) -> None:
    """Log what happened to a model's copy or registry, as a line of JSON."""
    logger.log(level, "%s", json.dumps({"event": event, "model": model, "wanted": wanted, **more}))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
