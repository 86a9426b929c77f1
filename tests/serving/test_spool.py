"""What is written to disk before the database has it: whole lines, whole batches, and what dead processes left."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from crewflow_assets import clock
from serving.spool import Spool, SpoolFullError, read_part
from tests.serving.test_prediction_log import left, served


def test_a_batch_is_on_the_disk_before_it_has_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(home / "spool")
    seen: list[tuple[bool, int]] = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append((spool.parts() == [], os.fstat(file).st_size)))
    path = left(spool, "p-1")
    assert spool.parts() == [path]
    assert seen == [(True, path.stat().st_size)]


def test_what_a_living_process_appends_to_is_left_alone(home: Path) -> None:
    spool = Spool(home / "spool")
    part = spool.begin()
    spool.append(part, b'{"id": 1}\n')
    assert Spool(home / "spool").look() == []
    part.drop()
    assert list((home / "spool").iterdir()) == []


def test_a_line_that_its_process_did_not_finish_is_cut_off(home: Path) -> None:
    spool = Spool(home / "spool")
    spool.folder.mkdir()
    row = to_json(served("p-1").row()) + b"\n"
    (spool.folder / "20260101T000000000000-1-0.live").write_bytes(row + row[:20])
    [path] = spool.look()
    assert path.read_bytes() == row
    assert [found["id"] for found in read_part(path)] == ["p-1"]


def test_what_a_dead_process_left_without_a_whole_line_is_removed_after_a_minute(home: Path) -> None:
    spool = Spool(home / "spool")
    living = spool.begin()
    files = [spool.folder / name for name in ("empty.live", "half.live", "fresh.live", living.path.name)]
    files[1].write_bytes(b'{"id": "p-')
    files[0].touch()
    files[2].touch()
    for old in (files[0], files[1], living.path):
        os.utime(old, (clock.now().timestamp() - 61,) * 2)
    assert spool.look() == []
    assert set(spool.folder.iterdir()) == set(files[2:])
    living.drop()


def test_a_line_that_the_disk_takes_by_half_is_taken_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(home / "spool")
    part = spool.begin()
    spool.append(part, b"1\n")
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, content: write(file, content[:3]))
        with pytest.raises(OSError, match="disk is full"):
            spool.append(part, b"222222\n")
    spool.append(part, b"3\n")
    part.leave()
    assert spool.parts()[0].read_bytes() == b"1\n3\n"


def test_a_half_line_that_cannot_be_taken_back_costs_no_whole_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(home / "spool")
    write, ids = os.write, [served(f"p-{i}") for i in range(4)]
    rows = [to_json(one.row()) + b"\n" for one in ids]

    def refuse(*_: Any) -> None:
        raise OSError("the disk is read-only")

    healed, torn = spool.begin(), spool.begin()
    spool.append(healed, rows[0])
    spool.append(torn, rows[1])
    with monkeypatch.context() as patched:
        patched.setattr(os, "ftruncate", refuse)
        patched.setattr(os, "write", lambda file, content: write(file, content[:3]))
        for part in (healed, torn):
            with pytest.raises(OSError, match="read-only"):
                spool.append(part, rows[2])
        patched.setattr(os, "write", write)
        with pytest.raises(OSError, match="read-only"):
            spool.append(torn, rows[2])
        with pytest.raises(OSError, match="read-only"):
            torn.leave()
    spool.append(healed, rows[3])
    healed.leave()
    found = [[row["id"] for row in read_part(part)] for part in Spool(home / "spool").look()]
    assert found == [["p-0", "p-3"], ["p-1"]]


def test_a_full_spool_refuses(home: Path) -> None:
    small = Spool(home / "small", most_bytes=300)
    path = left(small, "p-1")
    part = small.begin()
    with pytest.raises(SpoolFullError, match="of at most 300 bytes"):
        small.append(part, path.read_bytes())
    part.drop()
    path.unlink()
    small.look()
    left(small, "p-2")
    assert [row["id"] for part in small.parts() for row in read_part(part)] == ["p-2"]
