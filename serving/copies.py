"""Copies of a version's files, described so that what a power cut or a disk did to them since is noticed."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FILES, ABOUT = "model", "version.json"
DIGESTS = "files"
"""Of a version's description: the SHA-256 of each file, by its path."""


def write_copy(source: Path, target: Path, about: Mapping[str, Any]) -> None:
    """Copy a folder under ``target`` with what is said about it; it has its name once all of it is on the disk.

    Raises:
        OSError: the disk refuses, or a copy with digests is there already.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".copying-", dir=target.parent, ignore_cleanup_errors=True) as passing:
        files = Path(passing) / FILES
        shutil.copytree(source, files)
        inside = sorted(files.rglob("*"))
        digests = {path.relative_to(files).as_posix(): _digest(path) for path in inside if path.is_file()}
        described = Path(passing) / ABOUT
        described.write_text(json.dumps({**about, DIGESTS: digests}))
        for path in (*inside, files, described, Path(passing)):
            sync(path)
        if target.is_dir() and DIGESTS not in about_copy(target):
            target.rename(Path(passing) / "former")
        Path(passing).rename(target)
    sync(target.parent)


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


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
